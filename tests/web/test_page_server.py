"""The server of a page: it gives the files of its folder, and nothing else to anybody else."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import pytest
from patience import PATIENCE_S

from ganpress.errors import ConfigError
from ganpress.web.server import HEADERS, LOOPBACK, PageServer, _Handler, bound


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    (page / "models").mkdir(parents=True)
    (page / "onnxruntime").mkdir()
    for name in ("index.html", "page.js", "page.css", "models.json", "_headers", ".secret.json"):
        (page / name).write_text(name)
    (page / "models" / "a.onnx").write_bytes(b"\0model")
    (page / "models" / "notes.exe").write_text("no")
    (page / "onnxruntime" / "ort.mjs").write_text("mjs")
    (page / "onnxruntime" / "ort.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret.json").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "other.json").write_text("secret")
    (page / "link.json").symlink_to(tmp_path / "secret.json")
    (page / "linked").symlink_to(tmp_path / "outside")
    return page


@pytest.fixture
def server(folder: Path) -> Iterator[PageServer]:
    with bound(LOOPBACK, 0) as opened:
        opened.show(folder)
        thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def ask(
    server: PageServer, target: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    """One request, its target as it is written; Host is the server's own unless given."""
    host, port = server.server_address[:2]
    connection = HTTPConnection(str(host), port, timeout=PATIENCE_S)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"localhost:{port}", **headers}.items():
            if value:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def raw(server: PageServer, request: bytes) -> bytes:
    """The answer to bytes that no client would send."""
    host, port = server.server_address[:2]
    with socket.create_connection((str(host), port), timeout=PATIENCE_S) as opened:
        opened.sendall(request)
        opened.shutdown(socket.SHUT_WR)
        found = b""
        while part := opened.recv(1 << 16):
            found += part
    return found


@pytest.mark.parametrize(
    ("target", "kind", "body"),
    [
        ("/", "text/html; charset=utf-8", b"index.html"),
        ("/index.html?left=a", "text/html; charset=utf-8", b"index.html"),
        ("/page.js", "text/javascript; charset=utf-8", b"page.js"),
        ("/page.css", "text/css; charset=utf-8", b"page.css"),
        ("/models.json", "application/json", b"models.json"),
        ("/models/a.onnx", "application/octet-stream", b"\0model"),
        ("/models/%61.onnx", "application/octet-stream", b"\0model"),
        ("/onnxruntime/ort.mjs", "text/javascript; charset=utf-8", b"mjs"),
        ("/onnxruntime/ort.wasm", "application/wasm", b"\0asm"),
    ],
)
def test_files_of_the_folder_have_their_type_and_the_headers_of_isolation(
    server: PageServer, target: str, kind: str, body: bytes
) -> None:
    answer, found = ask(server, target)
    assert (answer.status, answer.getheader("Content-Type"), found) == (200, kind, body)
    assert {name: answer.getheader(name) for name in HEADERS} == HEADERS
    assert answer.getheader("Cross-Origin-Opener-Policy") == "same-origin"
    assert answer.getheader("Cross-Origin-Embedder-Policy") == "require-corp"


@pytest.mark.parametrize(
    "target",
    [
        *("/../secret.json", "/models/../../secret.json", "/%2e%2e/secret.json"),
        *("/..%2fsecret.json", "/%2e%2e%2fsecret.json", "/%252e%252e/secret.json"),
        *("/..\\secret.json", "/..%5csecret.json", "//etc/passwd", "/%2fetc/passwd"),
        *("/etc/passwd", "/models.json%00", "/models.json%00.html", "/models/", "/models"),
        *("/./index.html", "/models/./a.onnx", "/index.html/", "/nothing.js"),
        *("/link.json", "/linked/other.json", "/_headers", "/.secret.json", "/models/notes.exe"),
        *("/C:/index.html", "/index.html;x", "index.html", "*", "?"),
    ],
)
def test_what_is_not_a_file_of_the_page_is_not_found(server: PageServer, target: str) -> None:
    for path in (target, f"http://localhost{target}" if target.startswith("/") else target):
        answer, found = ask(server, path)
        assert answer.status == 404, path
        assert b"secret" not in found and b"root:" not in found
        assert HEADERS.items() <= dict(answer.getheaders()).items()


def test_a_path_outside_is_not_found_from_the_folder_itself(
    server: PageServer, tmp_path: Path
) -> None:
    answer, found = ask(server, str(tmp_path / "secret.json"))
    assert (answer.status, found) == (404, b"404 Not Found\n")


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
)
def test_only_reading_is_allowed(server: PageServer, folder: Path, method: str) -> None:
    answer, found = ask(server, "/models.json", method, Content_Length="5")
    assert (answer.status, answer.getheader("Allow"), found) == (405, "GET, HEAD", b"")
    assert answer.getheader("Connection") == "close"
    assert (folder / "models.json").read_text() == "models.json"


def test_an_unknown_method_is_refused(server: PageServer) -> None:
    assert ask(server, "/", "STEAL")[0].status == 501


@pytest.mark.parametrize(
    "headers", [{"Content_Length": "1000000000000"}, {"Transfer_Encoding": "chunked"}]
)
def test_no_body_is_taken_with_a_request_for_a_file(
    server: PageServer, headers: dict[str, str]
) -> None:
    answer, found = ask(server, "/index.html", **headers)
    assert answer.status == 413
    assert b"index.html" not in found


def test_a_body_is_not_read_as_the_next_request(server: PageServer) -> None:
    hidden = b"GET /models.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    start = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(hidden)}\r\n\r\n"
    found = raw(server, start.encode() + hidden)
    assert found.count(b"HTTP/1.1 ") == 1
    assert b"405" in found.splitlines()[0]


def test_headers_alone_are_given_to_head(server: PageServer) -> None:
    answer, found = ask(server, "/models/a.onnx", "HEAD")
    assert (answer.status, answer.getheader("Content-Length"), found) == (200, "6", b"")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("localhost", "LOCALHOST:81", "127.0.0.1:9", "[::1]:80")),
        *((name, 200) for name in ("[::1]", "192.168.1.7:8000")),
        *((name, 403) for name in ("evil.example", "localhost.evil.example:80", "a@localhost")),
        *((name, 403) for name in ("127.0.0.1.evil.example", "localhost evil", "127.0.0.1:x:y")),
        ("", 400),
    ],
)
def test_only_a_host_that_is_this_machine_is_answered(
    server: PageServer, host: str, status: int
) -> None:
    answer, found = ask(server, "/models.json", Host=host)
    assert answer.status == status
    assert (found == b"models.json") == (status == 200)


def test_two_hosts_are_refused(server: PageServer) -> None:
    found = raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 400")


def test_a_name_that_was_asked_for_is_a_host_of_the_server() -> None:
    with bound("localhost", 0) as named:
        assert named.is_own_name("localhost")
        named.names.add("my-machine.lan")
        assert named.is_own_name("My-Machine.lan:8000")
        assert not named.is_own_name("other-machine.lan")


def test_a_broken_request_line_ends_that_connection_alone(server: PageServer) -> None:
    assert b"400" in raw(server, b"\0\xff nonsense\r\n\r\n").splitlines()[0]
    assert b" 414 " in raw(server, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n").splitlines()[0]
    assert ask(server, "/")[0].status == 200


def test_it_listens_on_this_machine_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_port_in_use_is_named_with_a_free_one(server: PageServer) -> None:
    port = server.server_address[1]
    with pytest.raises(ConfigError, match=rf"^Port {port} is in use: .*--port \d+") as caught:
        bound(LOOPBACK, port)
    free = int(str(caught.value).rsplit("--port ", 1)[1].rstrip(")."))
    with bound(LOOPBACK, free) as other:
        assert other.server_address[1] == free


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=r"from 0 \(any free one\) to 65535"):
        bound(LOOPBACK, port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no address '203\.0\.113\.7'.*--host 0\.0\.0\.0"):
        bound("203.0.113.7", 0)


def test_a_file_that_has_gone_is_not_found(server: PageServer, folder: Path) -> None:
    (folder / "page.js").unlink()
    assert ask(server, "/page.js")[0].status == 404


def test_what_a_browser_has_already_is_not_sent_again(server: PageServer, folder: Path) -> None:
    tag = ask(server, "/onnxruntime/ort.wasm")[0].getheader("ETag") or ""
    assert tag
    for given in (tag, f'"other", W/{tag}'):
        answer, found = ask(server, "/onnxruntime/ort.wasm", If_None_Match=given)
        assert (answer.status, found, answer.getheader("ETag")) == (304, b"", tag)
        assert HEADERS.items() <= dict(answer.getheaders()).items()
    assert ask(server, "/onnxruntime/ort.wasm", If_None_Match='"other"')[0].status == 200
    (folder / "onnxruntime" / "ort.wasm").write_bytes(b"\0asm of another version")
    answer, found = ask(server, "/onnxruntime/ort.wasm", If_None_Match=tag)
    assert (answer.status, found) == (200, b"\0asm of another version")


def test_a_page_that_was_written_anew_is_served_when_it_is_opened_again(
    server: PageServer, folder: Path, tmp_path: Path
) -> None:
    (folder / "models" / "a.onnx").rename(folder / "models" / "b.onnx")
    (folder / "models" / "c.onnx").symlink_to(tmp_path / "secret.json")
    assert ask(server, "/models/b.onnx")[0].status == 404
    assert ask(server, "/models.json")[0].status == 200
    assert ask(server, "/models/b.onnx")[1] == b"\0model"
    assert ask(server, "/models/a.onnx")[0].status == 404
    assert ask(server, "/models/c.onnx")[0].status == 404


def test_no_more_and_no_less_is_sent_than_was_promised(server: PageServer, folder: Path) -> None:
    path = folder / "models" / "a.onnx"
    sent = io.BytesIO()
    handler = SimpleNamespace(wfile=sent, close_connection=False)
    with path.open("rb") as file:
        _Handler._send(handler, file, 3)  # type: ignore[arg-type]
        assert (sent.getvalue(), handler.close_connection) == (b"\0mo", False)
        _Handler._send(handler, file, 1000)  # type: ignore[arg-type]
    assert (sent.getvalue(), handler.close_connection) == (b"\0model", True)


def test_it_starts_where_no_name_can_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> str:
        raise AssertionError("DNS was asked")

    monkeypatch.setattr(socket, "getfqdn", slow)
    with bound("0.0.0.0", 0) as opened:
        assert opened.url == f"http://127.0.0.1:{opened.server_address[1]}/"


def test_the_machines_name_is_a_host_with_and_without_the_local_networks_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Desk.example.org")
    with bound(LOOPBACK, 0) as opened:
        assert opened.is_own_name("desk.example.org") and opened.is_own_name("desk.local:8000")
        assert not opened.is_own_name("other.local") and not opened.is_own_name("desk.evil")


def test_the_address_for_other_machines_is_said_where_they_may_come() -> None:
    with bound(LOOPBACK, 0) as alone, bound("0.0.0.0", 0) as everywhere:
        assert alone.network_url is None
        url = everywhere.network_url
    assert url is None or (url.startswith("http://") and "0.0.0.0" not in url)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "\udcff"])
def test_what_is_no_name_of_a_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"This machine has no address .*--host 0\.0\.0\.0"):
        bound(host, 0)
