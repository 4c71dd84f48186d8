"""What a candidate computes in: the numbers in its file, and what the runtime does with them.

| name | numbers in the file | float arithmetic |
|---|---|---|
| fp32 | float32; of an 8-bit student the same widths without its quantisers | float32 |
| fp16, bf16 | OpenVINO: float32, onnxruntime: that precision | that precision |
| int8 | quantised convolutions, the rest float32 | float32 |
| int8+bf16 | the same | what is float in bfloat16; OpenVINO alone |

torch computes fp32 and bf16 (autocast); it has no 8-bit kernels here, and a fake-quantised network
in torch takes longer than a float one, so that its time says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ganpress.errors import ConfigError, did_you_mean

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8+bf16")
RUNTIMES = ("torch", "compile", "onnxruntime", "openvino")
"""What a candidate is run by; "compile" is torch.compile."""
ABLE: dict[str, tuple[str, ...]] = {
    "torch": ("fp32", "bf16"),
    "compile": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "fp16", "bf16", "int8"),
    "openvino": PRECISIONS,
}
PACKAGES = {"torch": "torch", "compile": "torch", "onnxruntime": "onnxruntime",
            "openvino": "openvino"}  # fmt: skip


def hint_of(runtime: str, precision: str) -> str | None:
    """What a runtime is asked to do float arithmetic in, a key of `runtimes.HINTS`; None where it
    has no choice."""
    if runtime != "openvino":
        return None
    return {"int8": "fp32", "int8+bf16": "bf16"}.get(precision, precision)


def stored_in(runtime: str, precision: str) -> str:
    """What the numbers in the file are: fp32, fp16, bf16 or int8."""
    if precision.startswith("int8"):
        return "int8"
    return "fp32" if runtime == "openvino" else precision


def check_names(runtimes: Sequence[str], precisions: Sequence[str]) -> None:
    """Refuse unknown names, and runtimes that have none of the precisions: ConfigError."""
    for names, known, what in (
        (runtimes, RUNTIMES, "runtime"),
        (precisions, PRECISIONS, "precision"),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"There is no {what} '{name}'{did_you_mean(name, known)}: choose among "
                    f"{', '.join(known)}."
                )
    if precisions:
        for runtime in runtimes:
            if not set(precisions) & set(ABLE[runtime]):
                raise ConfigError(
                    f"{runtime} computes in {' or '.join(ABLE[runtime])}, not in "
                    f"{' or '.join(precisions)}: leave it out, or add one of its precisions."
                )
