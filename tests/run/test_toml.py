"""A run's config as TOML: whatever it holds, it can be read again; what others write is named."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganpress.errors import ConfigError, did_you_mean
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.report.toml import to_toml
from ganpress.run.settings import read_config

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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_settings_file_is_read_as_windows_writes_it(encoding: str, tmp_path: Path) -> None:
    text = "# Größe\r\nseed = 7\r\n"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "a.toml").write_bytes(mark + text.encode(encoding))
    assert read_config(SlimConfig, tmp_path / "a.toml").seed == 7


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "# mine\n---\nseed: 7\ndata:\n  size: 32\n", "is YAML, not TOML"),
        ("a.toml", "seed: 7\n", "is YAML, not TOML"),
        ("a.json", '{"seed": 7}', "is JSON, not TOML"),
        ("a.toml", "seed = 1\nseed = 2\n", "is not valid TOML: Cannot overwrite a value"),
    ],
)
def test_another_language_of_settings_is_named(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name} {words}"):
        read_config(SlimConfig, tmp_path / name)
    (tmp_path / "b.toml").write_text("seed = 1\n[data]\nworkers = 0\n")  # as the message says
    assert read_config(SlimConfig, tmp_path / "b.toml").seed == 1


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999", "9223372036854775808"])
def test_a_seed_that_torch_or_numpy_cannot_take_is_refused_as_a_setting(seed: str) -> None:
    with pytest.raises(ConfigError, match=r"seed: Input should be (greater|less) than"):
        read_config(SlimConfig, None, [f"seed={seed}"])
    assert read_config(SlimConfig, None, ["seed=9223372036854775807"]).seed == 2**63 - 1


def test_a_bare_word_in_a_settings_file_says_how_words_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("precision = float32\n")
    with pytest.raises(ConfigError, match="Texts stand in quotes"):
        read_config(SlimConfig, tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("precision = 'float32'\n")
    assert read_config(SlimConfig, tmp_path / "a.toml").precision == "float32"


def test_a_name_in_other_letters_is_answered_with_the_one_meant() -> None:
    assert did_you_mean("ONNX", ["openvino", "onnx"]) == " (did you mean 'onnx'?)"
    assert did_you_mean("Pix2Pix", ["pix2pixhd", "pix2pix"]) == " (did you mean 'pix2pix'?)"
    assert did_you_mean("zzz", ["onnx"]) == ""
