"""Errors in the user's words: optional packages that are missing, or cannot be imported."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from ganpress.errors import EXTRAS, MissingExtra, require

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_extra_of_each_optional_package_brings_it() -> None:
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert [one for one in extras[extra] if one.startswith(f"{package}>=")], package


def test_the_first_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("The sum", "numpy", "onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra) as caught:
        require("The sum", "numpy", "onnx", "openvino")
    want = "The sum needs the package 'onnx': pip install 'ganpress[onnx]'"
    assert str(caught.value) == want


def test_a_package_that_is_there_and_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_one.py").write_text("import a_part_that_is_gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingExtra, match=r"installed and cannot be imported \(No module named 'a_"
    ):
        require("The sum", "broken_one")
