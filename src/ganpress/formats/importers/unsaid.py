"""What the files of junyanz's ResNets and U-Nets, and of GAN Compression's ResNets, do not say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ganpress.errors import CheckpointError
from ganpress.formats.importers.assumed import assumption, pick
from ganpress.formats.importers.fitting import Plan
from ganpress.models.families.cyclegan import CYCLEGAN
from ganpress.types import State

TEST_SCRIPT = (
    "upstream's test.py (without --eval) leaves BatchNorm in training mode, where it takes the "
    "statistics of each picture; here it takes those of the file, and pictures differ by .03 to "
    ".08 on average"
)
DROPOUT = " (test.py leaves dropout on as well; here it is off)"
REPLICATED = (
    "residual blocks padded with copies of the border (padding_type='replicate') have the same "
    "tensors"
)
TRACKED = (
    "its InstanceNorms keep running statistics (track_running_stats=True), which eval mode takes "
    "and training mode, in which upstream's test.py leaves the network, does not: here they are "
    "those of each picture"
)
GROUPS = "GroupNorm and LayerNorm have the same tensors, and make other pictures"
FULL_CLAMPS = (
    "GAN Compression's full ResNet has the same tensors and clamps its input to [-1, 1], which "
    "matters for inputs beyond"
)
STUDENTS_CLAMP = (
    "the mobile class does not clamp its input to [-1, 1] and a student of uniform widths does, "
    "which matters for inputs beyond"
)


def norm_of(
    state: State, *, norms: Collection[str], convolutions: Collection[str], given: Any, source: str
) -> str:
    """The norm of a network, "batch" or "instance".

    A norm with scales and running statistics is BatchNorm; ``given`` "instance" makes it
    InstanceNorm with the same scales and shifts, which is BatchNorm in training mode on a batch of
    one picture. One with statistics alone is InstanceNorm; "batch" makes it normalise by these.

    Args:
        norms, convolutions: layers by the file's names; the convolutions are those that upstream
            builds without a bias unless InstanceNorm follows.
        given: the user's option ``norm``, or None.
    Raises: ConfigError for a norm that the file cannot have; CheckpointError for a network without
        norms.
    """
    if any(f"{n}.weight" in state and f"{n}.running_mean" in state for n in norms):
        return str(pick(source, "norm", given, ("batch", "instance"), ""))
    if any(f"{n}.running_mean" in state for n in norms):  # InstanceNorm that tracks statistics
        return str(pick(source, "norm", given, ("instance", "batch"), ""))
    bare = not any(f"{n}.{t}" in state for n in norms for t in ("weight", "running_mean"))
    unbiased = all(f"{c}.weight" in state and f"{c}.bias" not in state for c in convolutions)
    if bare and unbiased and given is None:
        raise CheckpointError(
            f"{source} has neither norms with tensors nor biases in front of them, as networks "
            "trained with --norm none: ganpress has none without norms. If it was trained with "
            "InstanceNorm and convolutions without bias, give --option norm=instance."
        )
    why = "it has no norms with scales and running statistics"
    return str(pick(source, "norm", given, ("instance",), why))


def assume_statistics(made: Plan, given: Mapping[str, Any], *, dropout: bool) -> None:
    """Note, of a network with BatchNorm of junyanz's, which statistics are assumed.

    Args: dropout: the network has dropout layers, or may have had them.
    """
    if made.options["norm"] == "batch" and "norm" not in given:
        why = TEST_SCRIPT + (DROPOUT if dropout else "")
        made.assumed |= assumption("norm", "batch", ["instance"], why)


def assume_instance(
    made: Plan, state: State, given: Mapping[str, Any], norms: Collection[str]
) -> None:
    """Note, of a network read with InstanceNorm, which statistics or which norm are assumed.

    Of GAN Slimming's, which scale some norms only, nothing is.

    Args: norms: layers by the file's names.
    """
    if made.options["norm"] != "instance" or "norm" in given:
        return
    if any(f"{n}.num_batches_tracked" in state for n in norms):
        made.assumed |= assumption("norm", "instance", ["batch"], TRACKED)
    elif made.options["affine"] and all(f"{n}.weight" in state for n in norms):
        made.assumed |= assumption("norm", "instance", [], GROUPS)


def statistics_alone(state: State, norms: Collection[str]) -> bool:
    """Whether the norms have running statistics and no scales, as InstanceNorms that track them."""
    kept = [n for n in norms if f"{n}.running_mean" in state]
    return bool(kept) and not any(f"{n}.weight" in state for n in norms)


def assume_padding(made: Plan, given: Mapping[str, Any]) -> None:
    """Note that residual blocks are assumed to be padded by reflection."""
    padding = made.options.get("padding", "reflect")
    if made.options["blocks"] and padding == "reflect" and "padding" not in given:
        others = ["replicate"] if "padding" in CYCLEGAN.options else []
        made.assumed |= assumption("padding", "reflect", others, REPLICATED)


def assume_no_clamp(made: Plan, given: Mapping[str, Any], why: str) -> None:
    """Note that the input is assumed not to be clamped."""
    if "clamp" not in given:
        made.assumed |= assumption("clamp", False, [True], why)
