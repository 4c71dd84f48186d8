"""Finding and fetching weight files; the server is on 127.0.0.1."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from ganpress.errors import DiskFull, WeightsError
from ganpress.losses.weights import WeightFile, find_weights, zoo_path
from ganpress.run import download
from ganpress.run.cache import cache_dir

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """What the test's server sends, and what it was asked."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.break_after: list[int] = []  # bytes sent before each early end
        self.stalls = False  # instead of ending early: it waits for the test to end
        self.ended = threading.Event()
        self.ranges = True
        self.status = 200
        self.asked: list[str | None] = []
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        asked = self.headers.get("Range")
        state.asked.append(asked)
        if state.status != 200:
            self.send_error(state.status)
            return
        start = int(asked[len("bytes=") : -1]) if asked and state.ranges else 0
        if start >= len(state.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(state.content)}")
            self.end_headers()
            return
        body = state.content[start:]
        self.send_response(206 if start else 200)
        if start:
            last = len(state.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(state.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: state.break_after.pop(0)] if state.break_after else body)
        if state.stalls:
            state.ended.wait(30)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    handler = type("Bound", (Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{listening.server_port}/net.pth"
        yield state
        state.ended.set()
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GANPRESS_WEIGHTS", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def entry(server: Server | None = None, sha256: str | None = SHA256[:8]) -> WeightFile:
    return WeightFile("A net", "net.pth", server.url if server else None, sha256)


def part() -> Path:
    return cache_dir() / "net.pth.part"


def test_a_file_is_fetched_once_and_then_found_in_the_cache(server: Server) -> None:
    first = find_weights(entry(server))
    assert first == cache_dir() / "net.pth" and first.read_bytes() == CONTENT
    assert find_weights(entry(server)) == first
    assert server.asked == [None] and not part().exists()


def test_a_broken_download_goes_on_where_it_stopped(server: Server) -> None:
    server.break_after = [100_000, 50_000]
    assert find_weights(entry(server)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_piece_from_an_earlier_run_is_continued(server: Server) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT[:1234])
    assert find_weights(entry(server)).read_bytes() == CONTENT
    assert server.asked == ["bytes=1234-"]


@pytest.mark.parametrize("extra", [b"", b"too long"])
def test_a_piece_that_is_already_whole_or_too_long_is_handled(server: Server, extra: bytes) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT + extra)
    assert find_weights(entry(server)).read_bytes() == CONTENT


def test_a_piece_of_another_file_is_thrown_away_and_fetched_anew(server: Server) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(b"x" * 1000)
    assert find_weights(entry(server)).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_server_without_ranges_is_read_from_the_start(server: Server) -> None:
    server.ranges = False
    server.break_after = [1000]
    assert find_weights(entry(server)).read_bytes() == CONTENT


def test_a_line_that_always_breaks_gives_up_and_keeps_what_arrived(server: Server) -> None:
    server.break_after = [1000] + [0] * 20
    with pytest.raises(WeightsError, match=r"closed early.*what has arrived is kept"):
        find_weights(entry(server))
    assert part().read_bytes() == CONTENT[:1000] and len(server.asked) < 8


def test_what_a_killed_process_has_fetched_is_continued(server: Server) -> None:
    server.content, server.stalls, server.break_after = CONTENT * 8, True, [3_500_000]
    sha256 = hashlib.sha256(server.content).hexdigest()
    script = (
        "import sys; from ganpress.losses.weights import *\n"
        "find_weights(WeightFile('A net', 'net.pth', sys.argv[1], sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", script, server.url, sha256]) as process:
        deadline = time.monotonic() + 30
        while not (part().exists() and part().stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.kill()
    have, server.stalls = part().stat().st_size, False
    assert 0 < have <= 3_500_000
    found = find_weights(entry(server, sha256))
    assert found.read_bytes() == server.content and not part().exists()
    assert server.asked == [None, f"bytes={have}-"]


def test_a_download_waits_for_the_process_that_makes_the_same(server: Server) -> None:
    part().parent.mkdir(parents=True)
    done = part().with_name("net.pth")
    script = (
        "import sys, time; from pathlib import Path; from ganpress.run.locks import alone\n"
        "done = Path(sys.argv[1])\n"
        "with alone(done.with_name('net.pth.lock')):\n"
        "    print('held', flush=True); time.sleep(0.4)\n"
        "    done.write_bytes(bytes(range(256)) * 2000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(done)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        assert find_weights(entry(server)) == done
    assert server.asked == []


def test_a_cache_that_cannot_be_written_says_where_else_to_put_the_file(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, where a folder should be")
    with pytest.raises(WeightsError, match=r"^A net: .*cannot be made.*GANPRESS_WEIGHTS"):
        find_weights(entry(server))
    (tmp_path / "cache").unlink()
    part().with_name("net.pth.lock").mkdir(parents=True)  # as unwritable, to root too
    with pytest.raises(WeightsError, match=r"^A net: .*\.lock cannot be written.*GANPRESS_WEIGHTS"):
        find_weights(entry(server))
    assert server.asked == []


def test_a_wrong_file_is_refused_and_removed(server: Server) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(WeightsError, match=r"not the published A net.*GANPRESS_WEIGHTS"):
        find_weights(entry(server))
    assert not part().exists() and not (cache_dir() / "net.pth").exists()


def test_a_missing_page_is_not_tried_again(server: Server) -> None:
    server.status = 404
    with pytest.raises(WeightsError, match="answered 404"):
        find_weights(entry(server))
    assert len(server.asked) == 1


def test_a_server_that_cannot_answer_is_tried_four_times(server: Server) -> None:
    server.status = 503
    with pytest.raises(WeightsError, match=r"cannot fetch .*\(503 Service Unavailable\)"):
        find_weights(entry(server))
    assert server.asked == [None] * 4


class Fickle(Server):
    """Every second answer begins the file anew."""

    turn = 0

    @property
    def ranges(self) -> bool:
        self.turn += 1
        return self.turn % 2 == 0

    @ranges.setter
    def ranges(self, _: bool) -> None:
        pass


@pytest.mark.parametrize("fickle", [False, True])
def test_a_server_that_begins_the_file_anew_each_time_is_not_asked_for_ever(
    fickle: bool, server: Server
) -> None:
    server.ranges = False
    server.break_after = [1000, 2000, 3000] * 20  # more than before, now and then
    if fickle:
        server.__class__ = Fickle
    with pytest.raises(WeightsError, match=r"began the file anew 4 times\).*GANPRESS_WEIGHTS"):
        find_weights(entry(server))
    assert len(server.asked) == (8 if fickle else 5)


def test_a_refusal_holds_no_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    connect = socket.create_connection

    def connect_and_note(*args: Any, **kwargs: Any) -> socket.socket:
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(socket, "create_connection", connect_and_note)
    server.status = 404
    with pytest.raises(WeightsError) as caught:
        find_weights(entry(server))
    assert isinstance(caught.value.__cause__, HTTPError)
    assert [line.fileno() for line in opened] == [-1]


def test_no_connection_says_where_to_put_the_file() -> None:
    closed = WeightFile("A net", "net.pth", "http://127.0.0.1:9/net.pth", SHA256[:8])
    with pytest.raises(WeightsError, match=r"Put net\.pth in a folder and set GANPRESS_WEIGHTS"):
        find_weights(closed)


def test_a_large_file_that_cannot_be_had_names_a_smaller_one() -> None:
    large = WeightFile("net", "n.pth", "http://127.0.0.1:9/n.pth", instead="Or take the smaller.")
    with pytest.raises(WeightsError, match=r"GANPRESS_WEIGHTS.* Or take the smaller\.$"):
        find_weights(large)


def test_a_full_disk_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    with pytest.raises(DiskFull, match=r"net\.pth\.part"):
        find_weights(entry(server))


def test_two_processes_that_want_the_same_file_fetch_it_once(server: Server) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(find_weights(entry(server)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and server.asked == [None]


def test_the_folder_of_the_environment_is_searched_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "weights" / "some" / "net.pth"
    deep.parent.mkdir(parents=True)
    deep.write_bytes(CONTENT)
    monkeypatch.setenv("GANPRESS_WEIGHTS", str(tmp_path / "weights"))
    assert find_weights(entry()) == deep
    assert find_weights(entry(sha256=None)) == deep


def test_a_given_path_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("given", "weights"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "net.pth").write_bytes(CONTENT)
    monkeypatch.setenv("GANPRESS_WEIGHTS", str(tmp_path / "weights"))
    given = tmp_path / "given" / "net.pth"
    assert find_weights(entry(), given=given) == given
    assert find_weights(entry(), given=given.parent) == given


def test_a_file_under_the_published_name_must_have_the_published_hash(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=f"published is {SHA256[:8]}"):
        find_weights(entry(), given=tmp_path / "net.pth")
    own = (tmp_path / "net.pth").rename(tmp_path / "my_net.pth")
    assert find_weights(entry(), given=own) == own


def test_a_given_path_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"did you mean 'net\.pth'"):
        find_weights(entry(), given=tmp_path / "nett.pth")


def test_a_file_without_an_address_says_what_to_do_and_can_be_asked_for_softly() -> None:
    with pytest.raises(WeightsError, match="cannot be fetched"):
        find_weights(entry())
    assert find_weights(entry(), fetch=False) is None


def test_an_environment_folder_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANPRESS_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="not a folder"):
        find_weights(entry())


def test_only_http_addresses_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(CONTENT)
    local = WeightFile("A net", "net.pth", (tmp_path / "net.pth").as_uri(), None)
    with pytest.raises(WeightsError, match="no http address"):
        find_weights(local)


def test_the_zoo_names_the_nearest_file() -> None:
    assert zoo_path("tiny_features.safetensors").is_file()
    with pytest.raises(WeightsError, match=r"did you mean 'tiny_features\.safetensors'"):
        zoo_path("tiny_feature.safetensors")
