"""The code blocks of the docs, and the check of their commands, settings and names.

A comment on the line above a block says what is done with it, by a reason where that is less:

- `<!-- code: run -->`: it is run; `run, with OPTIONS`: these are added to its compress and train
  commands, so that it takes seconds
- `<!-- code: checked: WHY -->`: of Python, names and arguments exist; that is what is done with
  commands anyway
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from typer.main import get_command

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.parent.name != "adr"),
]
SHELL, PYTHON, DATA = ("sh",), ("python",), ("toml", "text")
FENCE = re.compile(
    r"(?:<!-- code: (?P<mark>[^>]*?) -->\n)?^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)
SAME = ("...", "…")
"""What stands for the rest of a command that was given before."""
OTHERS = ("git", "pip", "python", "python3", "apt-get", "sudo", "make", "hf", "torchrun", "mkdocs")
"""Programs of others that a block may call: they are not checked."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.mark.split(",")[0] == "run"

    @property
    def with_(self) -> list[str]:
        """Options that are added to its compress and train commands."""
        return shlex.split(self.mark.partition("with ")[2])


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text[: m.start("text")].count("\n"), m["language"], m["text"], m["mark"] or "")
        for m in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]


def commands(text: str) -> list[list[str]]:
    """The commands of a shell block, each as its words, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = (part for line in lines for part in line.split("&&"))
    split = (shlex.split(part, comments=True) for part in parts)
    return [words for words in split if words]


# --- commands -------------------------------------------------------------------------------------


def program() -> Any:
    from ganpress.cli.app import app

    return get_command(app)


def check_command(words: list[str]) -> None:
    """Raises AssertionError, or what ganpress raises, where it cannot be given."""
    if words[0] in OTHERS or words[0].isupper() or words[0] in (".", "cd", "export"):
        return
    assert words[0] == "ganpress", f"{words[0]} is no known program: {' '.join(words)}"
    name, command, rest = "ganpress", program(), words[1:]
    while hasattr(command, "commands"):
        assert rest and rest[0] in command.commands, f"there is no '{name} {rest[:1]}'"
        name, command, rest = f"{name} {rest[0]}", command.commands[rest[0]], rest[1:]
    if any(word in SAME for word in rest):
        _check_options(command, [word for word in rest if word.startswith("-")])
        given = {"sets": [b for a, b in pairwise(rest) if a == "--set"]}
        given["method"] = given["family"] = rest[0]
    else:
        try:
            with command.make_context(name, rest) as context:
                given = dict(context.params)
        except Exception as error:  # typer has its own copy of click and of its errors
            raise AssertionError(f"{' '.join(words)}: {type(error).__name__} {error}") from error
    _check_settings(name, given)


def _check_options(command: Any, options: list[str]) -> None:
    known = {opt for p in command.params for opt in [*p.opts, *p.secondary_opts]}
    assert set(options) <= known, f"{command.name} has no {set(options) - known}"


def _check_settings(name: str, given: dict[str, Any]) -> None:
    """--set and --config against the settings of the method or family."""
    from ganpress.methods import METHODS
    from ganpress.run.recipes import config_file
    from ganpress.run.settings import read_config
    from ganpress.training.train import trainer

    verb = name.split()[1]
    if verb not in ("compress", "train", "ablate"):
        return
    of = given.get("method") or given.get("family") or given.get("recipe")
    kind = trainer(of).config if verb == "train" else METHODS[of].settings
    config = given.get("config")
    if config and verb == "ablate":
        config = config_file(config, ["ablate", of])
    read_config(kind, config, given.get("sets") or ())


# --- Python ---------------------------------------------------------------------------------------


def check_python(text: str) -> None:
    """Imported names exist, and so do attributes of modules and arguments of their functions."""
    tree = ast.parse(text)
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {(a.asname or a.name): importlib.import_module(a.name) for a in node.names}
        if isinstance(node, ast.ImportFrom):
            home = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(home, alias.name), f"{node.module} has no {alias.name}"
                known[alias.asname or alias.name] = getattr(home, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (found := _resolved(node.func, known)) is not None:
            _check_call(found, node)
        elif isinstance(node, ast.Attribute):
            _resolved(node, known)


def _resolved(node: ast.expr, known: dict[str, Any]) -> Any:
    """What a name or an attribute of a module is; None where that is not known."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        home = _resolved(node.value, known)
        if isinstance(home, ModuleType):
            assert hasattr(home, node.attr), f"{home.__name__} has no {node.attr}"
            return getattr(home, node.attr)
    return None


def _check_call(found: Any, call: ast.Call) -> None:
    if not callable(found) or any(k.arg is None for k in call.keywords):
        return
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return
    names = {str(k.arg): None for k in call.keywords}
    try:
        signature = inspect.signature(found)
    except ValueError:  # C functions have none
        return
    signature.bind(*[None] * len(call.args), **names)


def hook(name: str) -> ModuleType:
    """A module of docs/hooks, which mkdocs loads by its path."""
    path = ROOT / "docs" / "hooks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"docs_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- links to code --------------------------------------------------------------------------------

CODE_LINK = re.compile(r"\[`(?P<code>[^`]+)`\]\((?P<path>[^)#\s]+\.py)\)")


def code_links() -> Iterator[tuple[Path, str, Path]]:
    """(page, code, source file) of every link from code to a source file."""
    for page in PAGES:
        for found in CODE_LINK.finditer(page.read_text()):
            yield page, found["code"], page.parent / found["path"]
