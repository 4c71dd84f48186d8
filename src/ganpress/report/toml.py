"""A resolved config as TOML text, readable and loadable again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(config: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> str:
    """TOML of a nested config. TOML has no null: an unset key becomes a comment."""
    lines, tables = [], []
    for key, value in config.items():
        if isinstance(value, Mapping):
            tables.append((*prefix, str(key)))
        elif value is None:
            lines.append(f"# {_key(str(key))} is not set")
        else:
            lines.append(f"{_key(str(key))} = {_value(value)}")
    parts = ["\n".join(lines)] if lines else []
    for path in tables:
        inner = to_toml(config[path[-1]], path)
        title = f"[{'.'.join(map(_key, path))}]"
        parts.append(inner if inner.startswith("[") else f"{title}\n{inner}".rstrip("\n"))
    return "\n\n".join(parts)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = [f"{_key(str(k))} = {_value(v)}" for k, v in value.items() if v is not None]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value if v is not None) + "]"
    return _string(str(value))
