"""README.md and docs/: code runs or is checked, tables are those of the result files, links lead
somewhere, equations lead to their line of code, and the site builds."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import pytest
from cli_runs import run_cli
from docs_code import (
    BLOCKS,
    DATA,
    PAGES,
    PYTHON,
    ROOT,
    SHELL,
    Block,
    check_command,
    check_python,
    code_links,
    commands,
    hook,
    program,
)
from picture_files import write_pictures

from ganpress.errors import GanpressError
from ganpress.measures.cost import Latency

README = (ROOT / "README.md").read_text()


def shell_blocks() -> list[Block]:
    return [block for block in BLOCKS if block.language in SHELL]


def test_every_block_says_what_it_is() -> None:
    """So that no command and no Python is passed over unread."""
    unsaid = [str(b) for b in BLOCKS if b.language not in (*SHELL, *PYTHON, *DATA)]
    assert not unsaid, f"name the language, one of {(*SHELL, *PYTHON, *DATA)}: {unsaid}"
    marks = ("", "run", "run, with", "checked: ")
    odd = [f"{b}: {b.mark}" for b in BLOCKS if not any(_is(b.mark, mark) for mark in marks)]
    assert not odd, f"a mark is one of {marks}: {odd}"


def _is(mark: str, form: str) -> bool:
    return mark == form or bool(form.endswith((" ", "with")) and mark.startswith(form))


@pytest.mark.parametrize("block", shell_blocks(), ids=str)
def test_commands_in_the_docs_can_be_given(block: Block) -> None:
    """Commands, options and values, settings and recipes; files need not be there."""
    found = commands(block.text)
    assert found
    for words in found:
        check_command(words)


@pytest.mark.parametrize(
    "line",
    [
        "ganpress comprss slim -t t.safetensors --run r",
        "ganpress compress slim -t t.safetensors --run r --imags photos",
        "ganpress compress slim --run r",
        "ganpress compress slim -t t.safetensors --run r --set target.mcas=0.1",
        "ganpress compress slim -t t.safetensors --run r --set target.macs=7",
        "ganpress compress slim -t t.safetensors --run r --config no-such-recipe",
        "ganpress compress slim ... --sett target.macs=0.1",
        "ganpress compress slim ... --set target.mcas=0.1",
        "ganpress train pix2pix --images a --run r --set l2=1",
        "ganpress edit porject m.safetensors",
        "rm -rf photos",
    ],
)
def test_a_command_that_cannot_be_given_would_fail(line: str) -> None:
    with pytest.raises((AssertionError, GanpressError)):
        for words in commands(line):
            check_command(words)


@pytest.mark.parametrize(
    "code",
    [
        "import ganpress\nganpress.laod('m')",
        "from ganpress import laod",
        "import ganpress\nganpress.load('m', expct='cyclegan')",
        "from ganpress import editing\nediting.projct(1, 2, 3)",
        "import ganpress\nganpress.load()",
    ],
)
def test_python_that_names_what_is_not_there_would_fail(code: str) -> None:
    with pytest.raises((AssertionError, TypeError)):
        check_python(code)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in PYTHON], ids=str)
def test_python_in_the_docs_names_what_is_there(block: Block) -> None:
    check_python(block.text)


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if b.runs}), ids=lambda p: p.name)
def test_blocks_that_are_to_run_do(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a folder with the zoo and a few photos, in the page's order."""
    quick = Latency(1.0, 1.0, "cpu", 1, 1, 32, 1)
    monkeypatch.setattr("ganpress.measures.both_costs.latency", lambda *_, **__: quick)
    none = {"file": "none: left out here"}  # exports have tests of their own, of seconds each
    monkeypatch.setattr("ganpress.methods.finish.exported", lambda *_, **__: none)
    (tmp_path / "zoo").symlink_to(ROOT / "zoo")
    write_pictures(tmp_path / "photos", 3, size=72)
    monkeypatch.chdir(tmp_path)
    for block in (b for b in BLOCKS if b.page == page and b.runs):
        if block.language in PYTHON:
            exec(compile(block.text, str(block), "exec"), {})
            assert capsys.readouterr().out
            continue
        for words in commands(block.text):
            more = block.with_ if words[1] in ("compress", "train") else []
            done = run_cli(capsys, *words[1:], *more)
            assert done.code == 0, f"{block}: {' '.join(words)}\n{done.err}"


def test_tables_in_the_docs_are_those_of_the_result_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("benchmarks.readme", None)
    from benchmarks import readme

    for page in readme.PAGES:
        assert readme.with_tables(page.read_text()) == page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    generated = ROOT / "docs" / "reference"  # written with the site, which checks those links
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        path = (page.parent / target).resolve()
        assert path.exists() or path.parent == generated, target


def test_an_equation_or_a_name_leads_to_its_line_of_code() -> None:
    line_of = hook("repository").line_of
    nowhere = [
        f"{page.name}: {code} is not in {source.name}"
        for page, code, source in code_links()
        if line_of(source.resolve(), code) is None
    ]
    assert not nowhere and len(list(code_links())) > 40


def test_the_readme_shows_pictures_first_and_one_short_table() -> None:
    assert README.index("![") < README.index("make demo") < README.index("## ")
    rows = [line for line in README.splitlines() if line.startswith("|")]
    assert 3 <= len(rows) <= 12  # a head, its rule, at most ten rows


# --- the site -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link or an anchor that leads nowhere ends the build."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Markdown and mkdocs themselves
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def test_the_site_asks_no_other_host(site: Path) -> None:
    loads = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]+")
    imports = re.compile(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+")
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text()
        assert not loads.findall(text) + imports.findall(text), path


def test_every_page_of_docs_is_on_the_site_with_what_it_links_to(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file(), page
    home = (site / "index.html").read_text()
    assert "repository/benchmarks/results/cartoongan-hayao-fast-cpu.png" in home
    assert (site / "repository/benchmarks/results/cartoongan-hayao-fast-cpu.png").is_file()


def test_a_link_from_an_equation_leads_to_the_line_in_the_source(site: Path) -> None:
    page = (site / "gan-slimming.html").read_text()
    code = "(beta * d + weight * gan).backward()"
    source = (ROOT / "src/ganpress/methods/gan_slimming/joint.py").read_text().splitlines()
    (line,) = (n for n, text in enumerate(source, start=1) if code in text)
    there = f"repository/src/ganpress/methods/gan_slimming/joint.py.html#L{line}"
    assert f'href="{there}"><code>{code}' in page
    shown = (site / there.split("#")[0]).read_text()
    assert f'<a id="L{line}"></a>        {code}' in shown


def test_the_reference_has_every_command_setting_and_public_name() -> None:
    import ganpress
    from ganpress.methods import METHODS
    from ganpress.run.settings import describe
    from ganpress.training.train import TRAINERS

    pages = hook("reference").pages()
    for verb in program().commands:
        assert f"## `ganpress {verb}" in pages["reference/commands.md"], verb
    for name in ganpress.__all__:
        assert f"### `ganpress.{name}`" in pages["reference/python.md"], name
    kinds = {f"compress-{name}": method.settings for name, method in METHODS.items()}
    kinds |= {f"train-{name}": trainer.config for name, trainer in TRAINERS.items()}
    for name, kind in kinds.items():
        rows = re.findall(r"^\| `([\w.]+)` \|", pages[f"reference/settings-{name}.md"], re.M)
        assert sorted(rows) == sorted(setting for setting, _, _ in describe(kind))
    nav = (ROOT / "mkdocs.yml").read_text()
    assert all(page in nav for page in pages), "a page of the reference is not in the nav"


def test_a_setting_is_shown_with_default_values_and_meaning() -> None:
    page = hook("reference").pages()["reference/settings-compress-slim.md"]
    for row in (
        "| `seed` | `0` | a whole number, ≥ 0, ≤ 9223372036854775807 | random seed |",
        "| `min_channels` | `8` | a whole number, ≥ 1 | smallest number of channels of a group |",
        "| `device` | `cpu` | `cpu` \\| `cuda` | where it runs |",
        "| `target.macs` | unset | a number, > 0, ≤ 1, or unset |",
        "| `data.size` | `256` | a size: `256`, or height x width as `256x512` |",
        "| `data.flip` | `true` | `true` or `false` |",
    ):
        assert row in page, row
