"""The public names: pinned, lazy, and never hidden behind a module of the same name."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import version

import pytest
from patience import PATIENCE_S

import ganpress

NAMES = [
    *("FAMILIES", "GanpressError", "Images", "Model", "Run", "SlimConfig", "bench", "compress"),
    *("evaluate", "evaluate_quality"),
    *("export", "family", "full_model", "generate", "import_model", "latency", "load"),
    *(
        "match_colour",
        "measure",
        "measure_file",
        "open_images",
        "read_config",
        "save",
        "train",
        "write_report",
    ),
]

# In a fresh interpreter: every module is imported before and after the names are used.
AFTER_ALL_MODULES = """
import importlib, pkgutil
import ganpress

def functions():
    return {n: getattr(ganpress, n) for n in ganpress.__all__}

first = functions()
for module in pkgutil.walk_packages(ganpress.__path__, "ganpress."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert functions() == first, "a module took the place of a public name"
assert all(callable(v) or n == "FAMILIES" for n, v in first.items())
"""


def test_the_public_names_are_these() -> None:
    assert list(ganpress.__all__) == NAMES


def test_the_public_names_are_sorted() -> None:
    assert list(ganpress.__all__) == sorted(ganpress.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_that_of_its_home(name: str) -> None:
    found = getattr(ganpress, name)
    home = importlib.import_module(f"ganpress.{ganpress._HOME[name]}")
    assert found is getattr(home, name)
    assert (found.__doc__ or "").strip()


def test_every_lazy_name_is_public() -> None:
    assert sorted(ganpress._HOME) == sorted(ganpress.__all__)


def test_no_module_has_the_name_of_a_public_function() -> None:
    modules = {module.name for module in pkgutil.iter_modules(ganpress.__path__)}
    assert not modules & set(ganpress.__all__)


def test_names_stay_what_they_are_when_every_module_was_imported() -> None:
    command = [sys.executable, "-c", AFTER_ALL_MODULES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'comprss'"):
        _ = ganpress.comprss  # type: ignore[attr-defined]


def test_dir_lists_the_public_names_and_the_version() -> None:
    assert dir(ganpress) == sorted([*NAMES, "__version__"])
    assert ganpress.__version__ == version("ganpress")


def test_a_public_name_of_before_names_todays() -> None:
    with pytest.raises(AttributeError, match="'judge': it is called 'evaluate_quality'"):
        ganpress.judge  # noqa: B018
    for new in ganpress._RENAMED.values():
        assert new in ganpress.__all__
