"""The floors hold, and the package loads without extras, CUDA or torchvision."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
OPTIONAL = [
    "torchvision",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "torchmetrics",
    "huggingface_hub",
    "optuna",
    "psycopg",
    "sqlalchemy",
]
LAZY = ["filelock", "scipy", "tomlkit"]  # always there, imported where they are used

# Runs in a fresh interpreter: `argv` is the packages to hide, then the modules to import.
IMPORT_WITHOUT = """
import importlib, pkgutil, sys

hidden, wanted = (argument.split() for argument in sys.argv[1:])

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"hidden by the test: {name}", name=name)

sys.meta_path.insert(0, Hide())
for name in wanted:
    if name.endswith(".*"):
        package = importlib.import_module(name[:-2])
        found = [module.name for module in pkgutil.walk_packages(package.__path__, name[:-1])]
    else:
        found = [name]
    for module in found:
        if not module.endswith("__main__"):
            importlib.import_module(module)
if "torch" in sys.modules:
    assert not sys.modules["torch"].cuda.is_initialized(), "importing the package started CUDA"
"""


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it says."""
    return subprocess.run(
        list(command), cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S
    )


def import_without(hidden: list[str], *modules: str) -> subprocess.CompletedProcess[str]:
    """Import modules (`package.*`: all of a package) in an interpreter that cannot see `hidden`."""
    return run(sys.executable, "-c", IMPORT_WITHOUT, " ".join(hidden), " ".join(modules))


def test_importing_ganpress_needs_neither_torch_nor_an_extra() -> None:
    done = import_without([*OPTIONAL, *LAZY, "torch", "numpy", "PIL"], "ganpress")
    assert done.returncode == 0, done.stderr


def test_every_module_imports_without_extras_torchvision_or_cuda() -> None:
    done = import_without(OPTIONAL, "ganpress.*")
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_without_torch() -> None:
    """Which takes ten times as long to import as all the rest."""
    hidden = [*OPTIONAL, *LAZY, "torch", "numpy", "PIL", "pydantic"]
    done = import_without(hidden, "ganpress.cli.app")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["ganpress.report.*", "ganpress.data.drawn.*"])
def test_the_report_and_the_drawings_import_without_torch(module: str) -> None:
    done = import_without(["torch", *LAZY], module)
    assert done.returncode == 0, done.stderr


def test_imports_only_go_down() -> None:
    done = run(sys.executable, "-c", LINT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("errors.py", "import ganpress.run.run", "Floors"),
        ("channels/take.py", "import ganpress.models.families.cyclegan", "Floors"),
        ("report/__init__.py", "import torch", "need no torch"),
        ("training/distil.py", "import ganpress.methods.compress", "Floors"),
        ("training/pix2pix.py", "import ganpress.training.cyclegan", "no other recipe"),
        ("models/families/cyclegan.py", "import ganpress.models.families.cartoongan", "family"),
        ("formats/importers/munit.py", "import ganpress.measures.cost", "Floors"),
        ("unplaced.py", "import ganpress.errors", "Floors"),
    ],
)
def test_the_contract_names_a_line_that_breaks_it(
    tmp_path: Path, module: str, line: str, broken: str
) -> None:
    source = tmp_path / "ganpress"
    shutil.copytree(ROOT / "src" / "ganpress", source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (source / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = run(sys.executable, "-c", LINT, cwd=tmp_path)
    assert done.returncode != 0
    verdicts = [verdict for verdict in done.stdout.splitlines() if " BROKEN" in verdict]
    assert any(broken in verdict for verdict in verdicts), done.stdout + done.stderr


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "handler"}
    found = [path for path in (ROOT / "src").rglob("*.py") if path.stem in vague]
    assert not found, f"name these after what they hold: {found}"


def test_no_two_test_files_have_one_name() -> None:
    """A test's own process imports its module by that name, and would get the other one."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_names_and_messages_are_in_the_fields_words() -> None:
    """A dialect that earlier versions had: what is logged or said is not `told`, nor `judging` what
    is evaluated."""
    sources = [p for p in (ROOT / "src").rglob("*") if p.suffix in (".py", ".js", ".toml")]
    found = [
        f"{path.relative_to(ROOT)}: {word[0]}"
        for path in sources
        for word in re.finditer(r"\b(told|judging|judged against|cannot judge)\b", path.read_text())
    ]
    assert not found
