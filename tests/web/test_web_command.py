"""`ganpress site` and `ganpress serve`: what they print, open and refuse."""

from __future__ import annotations

import signal
import socket
import urllib.request
import webbrowser
from pathlib import Path
from threading import Thread

import pytest
from cli_runs import run_cli
from exports import LEAST
from page_files import saved, stand_in
from patience import PATIENCE_S

from ganpress.web import serve, site
from ganpress.web.server import PageServer


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model's file and a page of it."""
    root = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, root)
        path, _ = saved(root / "net.safetensors", LEAST["pix2pix"])
        site(path, root / "out", size=16)
    return root


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Opened addresses; the server answers one request, for models.json, and stops."""
    seen: list[str] = []

    def once(self: PageServer, poll_interval: float = 0.5) -> None:
        seen.append(f"served {sorted(self.files)[0]}")
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", once)
    monkeypatch.setattr(webbrowser, "open", lambda url: seen.append(url) or True)
    return seen


def test_site_says_what_it_wrote_and_how_to_open_it(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stand_in(monkeypatch, tmp_path)
    given = next((page / "out" / "models").iterdir())
    done = run_cli(capsys, "site", given, "-o", tmp_path / "out", "--size", 16, "--no-webgpu")
    assert done.code == 0, done.err
    assert done.err == ""
    first, second, third = done.out.splitlines()
    assert first.startswith("net-") and "pix2pix" in first and first.endswith(" MB")
    assert (
        second.startswith(f"{tmp_path / 'out'}: ") and "of which onnxruntime-web 0.0 MB" in second
    )
    assert third.endswith(f"ganpress serve {tmp_path / 'out'}")


def test_serve_opens_a_finished_page_and_ends_with_ctrl_c(
    page: Path, capsys: pytest.CaptureFixture[str], serving: list[str]
) -> None:
    done = run_cli(capsys, "serve", page / "out", "--port", 0)
    assert done.code == 130
    assert "http://127.0.0.1:" in done.out and "Ctrl-C stops it" in done.out
    assert serving[0].startswith("http://127.0.0.1:")
    assert serving[1] == "served /"


def test_serve_can_leave_the_browser_alone(
    page: Path, capsys: pytest.CaptureFixture[str], serving: list[str]
) -> None:
    run_cli(capsys, "serve", page / "out", "--port", 0, "--no-open")
    assert serving == ["served /"]


def test_serve_writes_its_page_to_a_folder_that_goes_with_it(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stand_in(monkeypatch, tmp_path)
    found: list[Path] = []

    def look(self: PageServer, poll_interval: float = 0.5) -> None:
        found.append(self.files["/models.json"])
        assert found[0].is_file()

    monkeypatch.setattr(PageServer, "serve_forever", look)
    done = run_cli(
        capsys, "serve", page / "net.safetensors", "--size", 16, "--port", 0, "--no-open"
    )
    assert done.code == 0, done.err
    assert not found[0].exists()


def test_options_of_a_page_that_is_written_already_are_refused(
    page: Path, capsys: pytest.CaptureFixture[str], serving: list[str]
) -> None:
    more = ("--size", 16, "--input", "draw", "--no-webgpu")
    done = run_cli(capsys, "serve", page / "out", "--port", 0, "--no-open", *more)
    assert done.code == 2
    assert "leave --size and --input and --no-webgpu out" in done.err
    assert serving == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_the_server_takes_its_temporary_page_away(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    stand_in(monkeypatch, tmp_path)
    number = getattr(signal, name)
    before, found = signal.getsignal(number), []

    def ended(self: PageServer, poll_interval: float = 0.5) -> None:
        found.append(self.files["/models.json"])
        signal.raise_signal(number)

    monkeypatch.setattr(PageServer, "serve_forever", ended)
    with pytest.raises(SystemExit) as stopped:
        serve(page / "net.safetensors", port=0, open_browser=False, size=16)
    assert stopped.value.code == 128 + number
    assert not found[0].exists()
    assert signal.getsignal(number) == before


def test_the_page_is_answered_over_http(page: Path) -> None:
    got: list[bytes] = []

    def ask(server: PageServer) -> None:
        def fetch() -> None:
            with urllib.request.urlopen(server.url + "models.json", timeout=PATIENCE_S) as answer:
                got.append(answer.read())
            server.shutdown()

        Thread(target=fetch).start()

    serve(page / "out", port=0, open_browser=False, ready=ask)
    assert got == [(page / "out" / "models.json").read_bytes()]


def test_a_port_in_use_is_refused_before_any_work(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_cli(capsys, "serve", page / "nothing.safetensors", "--port", port)
    assert done.code == 2
    assert f"Port {port} is in use: choose another (--port" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["site", "nothing.safetensors", "-o", "x"], "no model file nothing.safetensors"),
        (["site", "nothing", "-o", "x"], "There is no model file nothing"),
        (["serve", "nothing.safetensors", "--no-open", "--port", "0"], "no model file nothing"),
        (["serve", "a", "--port", "70000"], "a port is a number from 0"),
        (["serve", "a", "--host", "203.0.113.7"], "no address '203.0.113.7'"),
    ],
)
def test_what_cannot_be_shown_is_an_error_in_words(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    done = run_cli(capsys, *arguments)
    assert (done.code, message in done.err) == (2, True), done.err


def test_an_error_of_a_port_has_a_free_one_that_is_accepted(
    page: Path, capsys: pytest.CaptureFixture[str], serving: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_cli(capsys, "serve", page / "out", "--port", taken.getsockname()[1])
        free = done.err.rsplit("--port ", 1)[1].split(")")[0]
        assert run_cli(capsys, "serve", page / "out", "--port", free).code == 130
