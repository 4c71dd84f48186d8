"""mkdocs: what the docs link to outside of docs/ becomes part of the site, and so do the ADRs.

The pages are written for a code host, where `../zoo/README.md` or `../src/ganpress/nn/axes.py` lead
somewhere. On the site such files stand below `repository/`; a link from code to a source file, as
[`Axis`](../src/ganpress/nn/axes.py), leads to the line that defines the name, or that is the code.
"""

from __future__ import annotations

import ast
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(
    r"(?P<text>\[(?:`(?P<code>[^`]+)`|[^\]`]*)\]\()(?P<path>[^)#\s:]+)(?P<part>#[^)\s]*)?\)"
)
"""A link; of [`code`](path.py) the code is a name that the file defines, or a line of it."""


def on_config(config: Any) -> Any:
    """Put every ADR into the nav, in order, and every page that it does not name."""
    named = set(_uris(config.nav or []))
    unnamed = [path.name for path in sorted(DOCS.glob("*.md")) if path.name not in named]
    for entry in config.nav or []:
        if isinstance(entry, dict) and "Explanation" in entry:
            entry["Explanation"] += unnamed
        if isinstance(entry, dict) and "Decisions" in entry:
            found = sorted((DOCS / "adr").glob("*.md"))
            entry["Decisions"] = ["adr/index.md", *(f"adr/{path.name}" for path in found)]
    return config


def _uris(nav: Any) -> Iterator[str]:
    for entry in nav.values() if isinstance(nav, dict) else nav:
        if isinstance(entry, str):
            yield entry
        else:
            yield from _uris(entry)


def on_files(files: Files, config: Any) -> Files:
    """Add the list of ADRs, and all that is linked to outside of docs/."""
    adrs = sorted((DOCS / "adr").glob("*.md"))
    lines = [f"- [{_title(path)}]({path.name})" for path in adrs]
    listed = (
        "# Decisions\n\nHalf a page each; superseded, never edited.\n\n" + "\n".join(lines) + "\n"
    )
    files.append(File.generated(config, "adr/index.md", content=listed))
    for path in _linked():
        uri = site_uri(path)
        if path.suffix == ".py":
            files.append(File.generated(config, uri, content=_source_page(path)))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead the links of a page to where their files are on the site."""
    here = _path_of(page.file.src_uri)
    return markdown if here is None else _led(markdown, here, page.file.src_uri)


def _led(markdown: str, here: Path, uri: str) -> str:
    def lead(found: re.Match[str]) -> str:
        path = Path(os.path.normpath(here.parent / found["path"]))
        if not path.exists() or not path.is_relative_to(ROOT):
            return found[0]
        target = os.path.relpath(site_uri(path), PurePosixPath(uri).parent)
        part = found["part"] or ""
        if path.suffix == ".py" and (line := line_of(path, found["code"] or "")):
            part = f"#L{line}"
        return f"{found['text']}{target}{part})"

    return LINK.sub(lead, markdown)


def line_of(path: Path, code: str) -> int | None:
    """The line of a source file that defines this name, or that has this code in it; None if
    there is none."""
    text = path.read_text(encoding="utf-8")
    if (line := definitions(text).get(code)) is not None:
        return line
    lines = enumerate(text.splitlines(), start=1)
    return next((n for n, line in lines if code and code in line), None)


def site_uri(path: Path) -> str:
    """Where a file of the repository is on the site."""
    if path == DOCS / "adr":
        return "adr/index.md"
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    inside = path.relative_to(ROOT).as_posix()
    return f"repository/{inside}.md" if path.suffix == ".py" else f"repository/{inside}"


def _path_of(uri: str) -> Path | None:
    """The file of the repository that a page is, None for one that was generated."""
    outside = uri.startswith("repository/")
    path = ROOT / uri.removeprefix("repository/") if outside else DOCS / uri
    return path if path.is_file() else None


def _linked() -> list[Path]:
    """The files outside of docs/ that the pages, and the pages these lead to, link to."""
    found: dict[Path, None] = {}
    ahead = [path for path in DOCS.rglob("*.md")]
    while ahead:
        for path in _targets(ahead.pop()):
            if path.is_relative_to(DOCS) or path in found:
                continue
            found[path] = None
            ahead += [path] if path.suffix == ".md" else []
    return list(found)


def _targets(page: Path) -> Iterator[Path]:
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        path = Path(os.path.normpath(page.parent / found["path"]))
        if path.is_file() and path.is_relative_to(ROOT):
            yield path


def _source_page(path: Path) -> str:
    """A source file as a page, with an anchor at each line."""
    lines = html.escape(path.read_text(encoding="utf-8")).splitlines()
    code = "\n".join(f'<a id="L{n}"></a>{line}' for n, line in enumerate(lines, start=1))
    return f"# {path.relative_to(ROOT).as_posix()}\n\n<pre><code>{code}\n</code></pre>\n"


def definitions(text: str) -> dict[str, int]:
    """Name -> line of what a module defines: functions, classes, their methods, constants."""
    found: dict[str, int] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node.lineno
        if isinstance(node, ast.ClassDef):
            methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef))
            found |= {f"{node.name}.{inner.name}": inner.lineno for inner in methods}
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
        found |= {t.id: node.lineno for t in targets if isinstance(t, ast.Name)}
    return found


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return re.sub(r"^(?:ADR )?0*(\d+)[.:]? *", r"\1. ", first)
