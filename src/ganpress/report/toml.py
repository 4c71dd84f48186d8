"""A resolved config as TOML text, readable and loadable again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import Table

T = TypeVar("T", "TOMLDocument", "Table")


def to_toml(config: Mapping[str, Any]) -> str:
    """TOML of a nested config. TOML has no null: an unset key becomes a comment."""
    from tomlkit import document

    return _fill(document(), config).as_string().rstrip("\n")


def _fill(table: T, config: Mapping[str, Any]) -> T:
    """Add the values, then the groups, whose keys end where the next group starts."""
    from tomlkit import comment, item, key
    from tomlkit import table as group

    for name, value in sorted(config.items(), key=lambda pair: _is_group(pair[1])):
        if value is None:
            table.add(comment(f"{key(name).as_string()} is not set"))
        elif isinstance(value, Mapping):
            table.add(name, _fill(group(), value))
        else:
            table.add(name, item(_without_none(value)))
    return table


def _is_group(value: Any) -> bool:
    """Whether it is written under a title: a table, or an array of tables."""
    items = value if isinstance(value, list) and value else [value]
    return all(isinstance(one, Mapping) for one in items)


def _without_none(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_none(v) for v in value if v is not None]
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
