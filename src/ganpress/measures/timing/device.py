"""The device that times were measured on, in enough words to compare them with another's."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MATTERS = {
    "avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI",
    "avx512_bf16": "AVX-512 bf16", "avx512_fp16": "AVX-512 fp16", "amx_tile": "AMX",
    "amx_int8": "AMX int8", "amx_bf16": "AMX bf16", "asimd": "NEON", "asimddp": "dot product",
    "i8mm": "int8 matrices", "bf16": "bf16", "sve": "SVE",
}  # fmt: skip
"""Flags of /proc/cpuinfo that decide how fast float32, bfloat16 and int8 are -> their names."""
BFLOAT = ("avx512_bf16", "amx_bf16", "bf16")
_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe() -> dict[str, Any]:
    """Processor, cores, instruction sets that matter, governor, load of the last minute, system.

    What the system does not say is "unknown" or None.
    """
    flags = _flags(_cpuinfo())
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "instructions": [name for flag, name in MATTERS.items() if flag in flags],
        "governor": _governor(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """The name of this machine's processor."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def has_bfloat() -> bool:
    """Whether the processor has instructions for bfloat16."""
    return bool(_flags(_cpuinfo()) & set(BFLOAT))


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def words(device: Mapping[str, Any]) -> str:
    """What `describe` found, in one line."""
    cores, usable = device["cores"], device["usable_cores"]
    parts = [
        str(device["processor"]),
        f"{cores} core{'s' if cores != 1 else ''}" + (f", {usable} usable" * (usable != cores)),
        ", ".join(device["instructions"]) or "instruction sets unknown",
        f"governor {device['governor']}",
        f"load {device['load']} at the start" if device["load"] is not None else "load unknown",
    ]
    return "; ".join(parts)


def _flags(info: Mapping[str, str]) -> set[str]:
    return set((info.get("flags") or info.get("Features") or "").split())


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; {} on other systems."""
    if not _CPUINFO.is_file():
        return {}
    return dict(_lines(_CPUINFO.read_text().split("\n\n")[0]))


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _governor() -> str:
    try:
        return _GOVERNOR.read_text().strip()
    except OSError:
        return "unknown"
