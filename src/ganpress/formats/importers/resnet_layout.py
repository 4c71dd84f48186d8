"""Where ResNet generators keep their tensors: junyanz's key numbers, and those of the relatives.

`model.1` is the stem, `model.4` and `model.7` the down-sampling, `model.10` onwards the blocks,
then two transposed convolutions and a last convolution. What relatives have in other places:

- pix2pixHD's global generator: a third (fourth, ...) down-sampling at `model.10` (`model.13`).
- CUT's anti-aliased networks: a blur behind each down-sampling and one in front of each
  up-sampling convolution, with a buffer `filt` and a place of its own.
- PyTorch-GAN's: `block` for `conv_block`, and nearest neighbours in front of each up-sampling
  convolution, which have a place but no tensor.
- a dropout layer in the blocks moves their second convolution from conv_block.5 to .6; zero
  padding, which has no place, moves both by 1 and 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.fitting import first_ten
from ganpress.models.families.cyclegan import down_groups
from ganpress.nn.resample import MAX_TAPS, binomial
from ganpress.types import Options, State, Widths

DOUBLING_TAPS = 4  # of the filter that CUT's class doubles with
UPSAMPLED = ("nearest", "bilinear")  # what a place without a filter can be
_BLOCK = re.compile(r"model\.(\d+)\.(conv_block|block)\.(\d+)\.(?:conv\.0\.)?weight")
_OUTER = re.compile(r"model\.(\d+)\.weight")


@dataclass(frozen=True)
class Layout:
    """Where a file keeps what, in the key numbers of `model`.

    Attributes:
        downs: up- and down-samplings. blocks: residual blocks. separable: their convolutions.
        first, second: places of a block's convolutions. inner: what the blocks call them.
        blurred: a blur with a place behind each down-sampling.
        doubled: a step with a place in front of each up-sampling convolution.
    """

    downs: int = 2
    blocks: int = 9
    separable: bool = False
    first: int = 1
    second: int = 5
    inner: str = "conv_block"
    blurred: bool = False
    doubled: bool = False

    @property
    def blocks_from(self) -> int:
        """Number of the first residual block."""
        return 4 + (4 if self.blurred else 3) * self.downs

    def layers(self) -> dict[str, str]:
        """Our layers -> the file's, convolutions and norms alike."""
        names = {"stem.conv": "model.1", "stem.norm": "model.2"}
        end = self.blocks_from + self.blocks
        for k in range(self.downs):
            down = 4 + (4 if self.blurred else 3) * k
            up = end + (4 * k + 1 if self.doubled else 3 * k)
            names |= {
                f"down{k + 1}.conv": f"model.{down}",
                f"down{k + 1}.norm": f"model.{down + 1}",
            }
            names |= {f"up{k + 1}.conv": f"model.{up}", f"up{k + 1}.norm": f"model.{up + 1}"}
        names["out.conv"] = f"model.{end + (4 if self.doubled else 3) * self.downs + 1}"
        parts = {".depthwise": ".conv.0", ".pointwise": ".conv.2"} if self.separable else {"": ""}
        for b in range(self.blocks):
            block = f"model.{self.blocks_from + b}.{self.inner}"
            for half, place in ((1, self.first), (2, self.second)):
                for ours, theirs in parts.items():
                    names[f"blocks.{b}.conv{half}{ours}"] = f"{block}.{place}{theirs}"
                names[f"blocks.{b}.norm{half}"] = f"{block}.{place + 1}"
        return names

    def filters(self) -> dict[str, int]:
        """The stored filters of a blurred and doubled network: name -> what it sums to."""
        end = self.blocks_from + self.blocks
        down = {f"model.{7 + 4 * k}.filt": 1 for k in range(self.downs) if self.blurred}
        return down | {f"model.{end + 4 * k}.filt": 4 for k in range(self.downs) if self.doubled}


def layout_of(state: State, source: str) -> Layout:
    """The layout of a file, from the places of its convolutions and filters.

    Raises: CheckpointError where the residual blocks begin where no class has them.
    """
    wide = [name for name, tensor in state.items() if tensor.ndim == 4]
    inside = [m for name in wide if (m := _BLOCK.fullmatch(name))]
    outer = sorted(int(m[1]) for name in wide if (m := _OUTER.fullmatch(name)))
    numbers = sorted({int(m[1]) for m in inside})
    start = numbers[0] if numbers else None
    blurred = "model.7.filt" in state or (8 in outer and 7 not in outer and (start or 9) > 8)
    step = 4 if blurred else 3
    if start is not None and ((start - 4) % step or start == 4):
        raise CheckpointError(
            f"{source} has its first residual block at model.{start}; behind two, three, ... "
            "down-samplings of the classes that ganpress knows it is at model.10, 13, ... (with "
            "blurs at model.12, 16, ...). It cannot be imported."
        )
    downs = max(1, (len(outer) - 2) // 2) if start is None else (start - 4) // step
    places = sorted({int(m[3]) for m in inside}) or [1, 5]
    made = Layout(
        downs=downs if outer else 2,
        blocks=numbers[-1] - numbers[0] + 1 if numbers else 0,
        separable=is_separable(state),
        first=places[0],
        second=places[-1],
        inner=inside[0][2] if inside else "conv_block",
        blurred=blurred,
    )
    end = made.blocks_from + made.blocks
    doubled = f"model.{end}.filt" in state or (end + 1 in outer and end not in outer)
    made = replace(made, doubled=doubled)
    _check_tail(made, [place for place in outer if place >= end], source)
    return made


def _check_tail(layout: Layout, places: list[int], source: str) -> None:
    """Refuse a file whose last convolutions, as many as ours, lie in other places."""
    tail = re.compile(r"(up\d+|out)\.conv")
    ours = [int(n.split(".")[1]) for layer, n in layout.layers().items() if tail.fullmatch(layer)]
    if len(places) == len(ours) and places != ours:
        raise CheckpointError(
            f"{source} has the convolutions behind its residual blocks at model."
            f"{', '.join(map(str, places))}; the classes that ganpress knows have them at model."
            f"{', '.join(map(str, ours))}. It doubles its maps by other layers, such as an "
            "upsampling and a padding in front of a convolution: it cannot be imported."
        )


def layout_for(options: Options, *, dropout: bool = False) -> Layout:
    """The layout in which upstream's classes keep a network of these options of the family.

    Args: dropout: whether the blocks have a dropout layer.
    """
    zero = options["padding"] == "zero"
    return Layout(
        downs=options["downsamplings"],
        blocks=options["blocks"],
        separable=options["separable"],
        first=0 if zero else 1,
        second=(3 if zero else 5) + int(dropout),
        inner="block" if options["up"] == "nearest" else "conv_block",
        blurred=bool(options["antialias"]),
        doubled=options["up"] != "transposed",
    )


def is_separable(state: State) -> bool:
    """Whether the residual blocks are depthwise and pointwise convolutions."""
    return any(re.search(r"\.conv_block\.[01]\.conv\.0\.", name) for name in state)


def has_dropout(layout: Layout) -> bool:
    """Whether its blocks have a dropout layer between their convolutions."""
    return layout.second - layout.first > (4 if layout.first else 3)


def stored_filters(options: Options, widths: Widths) -> State:
    """The buffers `filt` that CUT's classes keep for a network of these options and widths."""
    layout = layout_for(options)
    halved = [widths[group] for group in down_groups(options)]
    doubled = [widths[group] for group in ("trunk", *(f"up{k}" for k in range(1, layout.downs)))]
    found = {}
    for name, total in layout.filters().items():
        width = (halved if total == 1 else doubled).pop(0)
        row = torch.tensor(binomial(options["antialias"] if total == 1 else DOUBLING_TAPS))
        found[name] = total * torch.outer(row, row).repeat(width, 1, 1, 1)
    return found if options["up"] != "nearest" else {}


def padding_of(layout: Layout, given: str | None, source: str) -> str:
    """The option ``padding``. Raises ConfigError where the one given is not the file's."""
    if layout.first and given != "zero":
        return given or "reflect"
    if not layout.first and given in (None, "zero"):
        return "zero"
    pads = "no padding layer, so it pads with zeros" if not layout.first else "a padding layer"
    raise ConfigError(
        f"{source} has residual blocks with {pads} (their first convolution is "
        f"{layout.inner}.{layout.first}): padding={given} is not what it was trained with. Leave "
        "the option out."
    )


def resampling_of(state: State, layout: Layout, up: str | None, source: str) -> dict[str, Any]:
    """The options ``antialias`` and ``up``; what filters the file has must be those we compute."""
    taps = 0
    stored = {name: total for name, total in layout.filters().items() if name in state}
    if lacks := [name for name in layout.filters() if stored and name not in stored]:
        raise CheckpointError(
            f"{source} does not hold a whole anti-aliased generator, whose filters are stored with "
            f"it. {first_ten('missing', lacks)}"
        )
    for name, total in stored.items():
        size = state[name].shape[-1] if state[name].ndim == 4 else 0
        wanted = (DOUBLING_TAPS,) if total == 4 else range(2, MAX_TAPS + 1)
        if size not in wanted or not _is_binomial(state[name], size, total):
            raise CheckpointError(
                f"{source} resamples with {name}, {tuple(state[name].shape)}, which is not one of "
                f"CUT's binomial filters of {wanted[0]} "
                f"{'to ' + str(wanted[-1]) + ' ' if total == 1 else ''}taps. It cannot be imported."
            )
        taps = size if total == 1 else taps
    if layout.blurred and not taps:
        raise CheckpointError(
            f"{source} has no filter behind its down-sampling (model.7.filt), where one has its "
            "place: save the whole state_dict(), buffers included."
        )
    doubles = any(total == 4 for total in stored.values())
    known = ("transposed",) if not layout.doubled else ("bilinear",) if doubles else UPSAMPLED
    if up is not None and up not in known:
        raise ConfigError(
            f"{source} shows what doubles its maps, and it is '{known[0]}': up={up} is not what it "
            "was trained with. Leave the option out."
        )
    return {"antialias": taps, "up": up or known[0]}


def _is_binomial(filt: Tensor, taps: int, total: int) -> bool:
    """Whether every channel's filter is the binomial one, scaled to this sum."""
    row = torch.tensor(binomial(taps), dtype=filt.dtype)
    return bool(torch.allclose(filt, total * torch.outer(row, row).expand_as(filt), atol=1e-6))
