"""onnxruntime-web comes from its npm package: pinned, checked, kept, and never from elsewhere."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest
from page_files import archive, integrity, stand_in

from ganpress.errors import ConfigError, MissingExtra
from ganpress.web import runtime
from ganpress.web.runtime import PACKAGE, WASM, WEBGPU, Package, runtime_files

NPM = """#!{python}
import pathlib, shutil, sys
here = pathlib.Path(__file__).parent
with open(here / "asked", "a") as file:
    print(*sys.argv[1:], file=file)
if {fails}:
    sys.exit("npm error code ENOTFOUND\\nnpm error network request failed, getaddrinfo ENOTFOUND")
shutil.copy({archive!r}, pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1]))
"""


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, with an npm that brings the stand-in."""
    made = stand_in(monkeypatch, tmp_path)
    monkeypatch.delenv(runtime.VARIABLE)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    _write_npm(programs, made)
    return programs


def _write_npm(programs: Path, made: Path, *, fails: bool = False) -> None:
    script = NPM.format(python=sys.executable, archive=str(made), fails=fails)
    (programs / "npm").write_text(script)
    (programs / "npm").chmod(0o755)


def test_npm_is_asked_once_for_the_pinned_package_and_runs_no_scripts(npm: Path) -> None:
    first, again = runtime_files(), runtime_files()
    assert first == again and list(first) == [*WASM, *WEBGPU]
    assert {path.read_text() for path in first.values()} == {f"// stand-in: {n}" for n in first}
    asked = (npm / "asked").read_text().splitlines()
    assert len(asked) == 1
    assert asked[0].startswith("pack onnxruntime-web@0.0.1 --ignore-scripts --pack-destination ")


def test_a_page_without_webgpu_has_the_files_of_webassembly_alone(npm: Path) -> None:
    assert list(runtime_files(webgpu=False)) == list(WASM)


def test_what_is_missing_in_the_cache_is_fetched_again(npm: Path) -> None:
    runtime_files()[WASM[0]].unlink()
    assert runtime_files()[WASM[0]].is_file()
    assert len((npm / "asked").read_text().splitlines()) == 2


@pytest.mark.parametrize("given", ["option", "variable"])
def test_an_archive_takes_the_place_of_npm(
    npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (npm / "npm").unlink()
    made = tmp_path / "stand-in.tgz"
    if given == "variable":
        monkeypatch.setenv(runtime.VARIABLE, str(made))
    found = runtime_files(made if given == "option" else None)
    assert found[WASM[2]].read_text() == f"// stand-in: {WASM[2]}"


def test_another_archive_than_the_pinned_one_is_refused_and_leaves_nothing(
    npm: Path, tmp_path: Path
) -> None:
    other = archive(tmp_path / "other.tgz", text="other")
    with pytest.raises(ConfigError, match=r"other\.tgz is not the published onnxruntime-web@0\.0"):
        runtime_files(other)
    _write_npm(npm, other)
    with pytest.raises(ConfigError, match="is not the published onnxruntime-web"):
        runtime_files()
    assert not list((tmp_path / "cache").rglob("*.mjs"))


def test_a_missing_archive_is_named(npm: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.tgz cannot be read .*npm pack onnxruntime"):
        runtime_files(tmp_path / "nowhere.tgz")


def test_without_npm_it_says_what_to_install_or_to_fetch_elsewhere(npm: Path) -> None:
    (npm / "npm").unlink()
    with pytest.raises(MissingExtra, match="there is no npm here") as caught:
        runtime_files()
    for advice in ("apt-get install npm", "npm pack onnxruntime-web@0.0.1", runtime.VARIABLE):
        assert advice in str(caught.value)


def test_offline_it_says_what_npm_said(npm: Path, tmp_path: Path) -> None:
    _write_npm(npm, tmp_path / "stand-in.tgz", fails=True)
    with pytest.raises(MissingExtra, match=r"cannot fetch onnxruntime-web@0\.0\.1 \(code ENOTF"):
        runtime_files()


def test_the_pin_is_a_version_and_a_sha512() -> None:
    kind, _, digest = PACKAGE.integrity.partition("-")
    assert (kind, len(base64.b64decode(digest, validate=True))) == ("sha512", 64)
    assert len(PACKAGE.version.split(".")) == 3


def test_the_integrity_of_an_archive_is_npms(tmp_path: Path) -> None:
    """`npm pack --json` of an empty file says this."""
    (tmp_path / "empty").write_bytes(b"")
    assert integrity(tmp_path / "empty") == (
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
    )
    assert Package("a", "1.2.3", "").spec == "a@1.2.3"
