"""mkdocs: the reference, written when the site is built: settings, commands, public functions."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

SECTIONS = ("Args", "Attributes", "Raises", "Returns")
SIZE = "a size: `256`, or height x width as `256x512`"
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages below reference/."""
    for uri, text in pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def pages() -> dict[str, str]:
    """Path on the site -> the page as Markdown."""
    from ganpress.methods import METHODS
    from ganpress.training.train import TRAINERS

    found = {"reference/commands.md": commands_page(), "reference/python.md": python_page()}
    methods = {f"compress {name}": method.settings for name, method in METHODS.items()}
    families = {f"train {name}": trainer.config for name, trainer in TRAINERS.items()}
    for command, kind in {**methods, **families}.items():
        name = command.replace(" ", "-")
        found[f"reference/settings-{name}.md"] = settings_page(command, kind)
    return found


# --- settings -----------------------------------------------------------------------------------


def settings_page(command: str, kind: type[BaseModel]) -> str:
    """Every setting of a command: its default, what it may be, and what it means."""
    lines = [
        f"# Settings of `ganpress {command}`",
        "",
        f"{_first(kind.__doc__)} Given as `--set name=value`, or in the file of `--config`.",
    ]
    for group, rows in _grouped(kind()).items():
        lines += ["", f"## `{group}`" if group else "## The whole run", ""]
        lines += ["| setting | default | values | meaning |", "|---|---|---|---|"]
        lines += [f"| `{name}` | {' | '.join(rest)} |" for name, *rest in rows]
    return "\n".join(lines) + "\n"


def _grouped(defaults: BaseModel) -> dict[str, list[tuple[str, str, str, str]]]:
    found: dict[str, list[tuple[str, str, str, str]]] = {"": []}
    for prefix, name, field, value in fields_of(defaults):
        row = (
            f"{prefix}{name}",
            _code(value),
            _cell(values_of(field)),
            _cell(field.description or ""),
        )
        found.setdefault(prefix.rstrip("."), []).append(row)
    return {group: rows for group, rows in found.items() if rows}


def fields_of(defaults: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, FieldInfo, Any]]:
    """(prefix, name, field, default) of every setting, groups after what stands alone."""
    inner = []
    for name, field in type(defaults).model_fields.items():
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            inner.append((name, value))
        else:
            yield prefix, name, field, value
    for name, value in inner:
        yield from fields_of(value, f"{prefix}{name}.")


def values_of(field: FieldInfo) -> str:
    """What a setting may be, in words: 'a whole number, ≥ 1'."""
    metadata = [*field.metadata, *_nested(field.annotation)]
    bounds = [
        f"{sign} {getattr(m, key)}"
        for m in metadata
        for key, sign in BOUNDS.items()
        if hasattr(m, key)
    ]
    can_be_unset = type(None) in get_args(field.annotation)
    return ", ".join([_kind(field.annotation), *bounds]) + (", or unset" if can_be_unset else "")


def _nested(annotation: Any) -> list[Any]:
    return [m for part in get_args(annotation) for m in getattr(part, "__metadata__", ())]


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{choice}`" for choice in get_args(annotation))
    if origin in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        kinds = dict.fromkeys(map(_kind, parts))
        return SIZE if {*kinds} == {_kind(int), _kind(tuple[int, int])} else " or ".join(kinds)
    if origin in (list, tuple):
        return "a list"
    words = {int: "a whole number", float: "a number", bool: "`true` or `false`", str: "text"}
    return words.get(annotation, "a table" if origin is dict else "a value")


# --- commands -----------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its arguments and options."""
    from typer.main import get_command

    from ganpress.cli.app import app

    lines = [
        "# Commands",
        "",
        "`ganpress COMMAND --help` prints the same. An error is one sentence and exit code 2.",
    ]
    for name, command in _walk(get_command(app), "ganpress"):
        lines += ["", f"## `{name}`", "", (command.help or "").strip(), ""]
        lines += ["| argument or option | default | meaning |", "|---|---|---|"]
        lines += [_option(parameter) for parameter in command.params if parameter.name != "help"]
    return "\n".join(lines) + "\n"


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for key, value in inner.items():
        yield from _walk(value, f"{name} {key}")


def _option(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    shown = (
        parameter.name.upper()
        if argument
        else ", ".join([*parameter.opts, *parameter.secondary_opts])
    )
    default = "needed" if parameter.required else _code(parameter.default)
    if (
        callable(parameter.default)
        or parameter.default is False
        or "Sentinel" in repr(parameter.default)
    ):
        default = "needed" if parameter.required else ""
    return f"| `{shown}` | {default} | {_cell(getattr(parameter, 'help', '') or '')} |"


# --- Python -------------------------------------------------------------------------------------


def python_page() -> str:
    """The public names of ganpress and ganpress.editing."""
    lines = [
        "# Python",
        "",
        "`import ganpress` is quick: each name is loaded when it is first used.",
    ]
    for module in ("ganpress", "ganpress.editing"):
        home = importlib.import_module(module)
        lines += ["", f"## {module}"]
        for name in home.__all__:
            lines += ["", f"### `{module}.{name}`", "", *_described(name, getattr(home, name))]
    return "\n".join(lines) + "\n"


def _described(name: str, value: Any) -> Iterator[str]:
    if not callable(value):
        yield f"{type(value).__name__}: {', '.join(f'`{key}`' for key in value)}."
        return
    yield from ("```python", f"{name}{_signature(value)}", "```", "")
    yield from as_markdown(inspect.getdoc(value) or "")


class _Bare:
    """An annotation that is written without quotes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _signature(value: Any) -> str:
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [p.replace(annotation=_bare(p.annotation)) for p in found.parameters.values()]
    returned = _bare(found.return_annotation)
    found = found.replace(parameters=parameters, return_annotation=returned)
    shown = str(found)
    if len(shown) < 80:
        return shown
    inside = "".join(f"    {parameter},\n" for parameter in _with_stars(found))
    after = shown[shown.rindex(") ->") + 1 :] if ") ->" in shown else ""
    return f"(\n{inside}){after}"


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _with_stars(found: inspect.Signature) -> Iterator[str]:
    starred = False
    for parameter in found.parameters.values():
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            yield "*"
            starred = True
        yield str(parameter)


def as_markdown(docstring: str) -> Iterator[str]:
    """A docstring with its sections as lists; its own line breaks are those of paragraphs."""
    section = ""
    for line in docstring.splitlines():
        head = re.match(rf"({'|'.join(SECTIONS)}):\s*(.*)", line)
        if head:
            section = head[1]
            yield from ("", f"**{section}**{': ' + _text(head[2]) if head[2] else ''}", "")
        elif section and re.match(r" {4}\S", line):
            yield f"- {_text(line.strip())}"
        elif section and line.strip():
            yield f"  {_text(line.strip())}"
        else:
            yield _text(line)


def _text(line: str) -> str:
    return re.sub(r"(?<!`)`([\w.]+)`(?!`)", r"`\1`", line).replace("<", "&lt;").replace("*", r"\*")


def _first(docstring: str | None) -> str:
    return " ".join((docstring or "").split("\n\n")[0].split())


def _code(value: Any) -> str:
    if value is None:
        return "unset"
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{shown}`" if shown else "empty"


def _cell(text: str) -> str:
    return " ".join(re.sub(r"(?<!\\)\|", r"\\|", text).replace("<", "&lt;").split())
