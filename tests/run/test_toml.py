"""A run's config as TOML: whatever it holds, it can be read again."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ganpress.report.toml import to_toml

VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()
VALUES |= st.floats(allow_nan=False)
NESTED = st.recursive(
    VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_none(v) for v in value if v is not None]
    return value


@settings(max_examples=40)
@given(st.dictionaries(st.text(), NESTED))
def test_every_config_comes_back_from_its_toml_but_for_what_is_not_set(
    config: dict[str, Any],
) -> None:
    assert tomllib.loads(to_toml(config)) == without_none(config)


def test_what_is_not_set_is_told_in_its_own_group() -> None:
    config = {"list": [{"a": 1}], "group": {"in": None, "deep": {"b": 2}}, "out side": None}
    said = to_toml(config).splitlines()
    places = [said.index(line) for line in ('# "out side" is not set', "[[list]]", "[group]")]
    assert places == sorted(places)
    assert places[-1] < said.index("# in is not set") < said.index("[group.deep]")
