"""A server of one folder, for this machine: it reads files and does nothing else.

What it serves is listed when it starts and when a page is opened, and a request is looked up in
that list: no path of a request ever reaches the file system. It takes no bodies, so no uploads.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import socketserver
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from ganpress.errors import ConfigError

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
MODELS = "/models.json"
"""What a browser asks for each time that it opens the page."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
}
"""By ending; what has another one is not served."""
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # these two: threads in WebAssembly
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}


def listed(folder: Path) -> dict[str, Path]:
    """The files of a folder by the path of their address; no links, no hidden files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        steps = [folder.joinpath(*inside.parts[:k]) for k in range(1, len(inside.parts) + 1)]
        hidden = any(part.startswith((".", "_")) for part in inside.parts)
        if hidden or any(step.is_symlink() for step in steps) or not path.is_file():
            continue
        if path.suffix in TYPES:
            found[f"/{inside.as_posix()}"] = path
    if "/index.html" in found:
        found["/"] = found["/index.html"]
    return found


class PageServer(ThreadingHTTPServer):
    """Serves the files of a folder (`show`), by the path of their address; ``names`` are the hosts
    that it answers to beside localhost and addresses in numbers."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], names: tuple[str, ...] = ()) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.files: Mapping[str, Path] = {}
        self.names = {"localhost", *(name.lower() for name in names)}
        self.folder: Path | None = None
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Take the address; the names of it in DNS, which may not answer, are of no use here."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def show(self, folder: Path) -> None:
        """Serve this folder as it is now."""
        self.folder, self.files = folder, listed(folder)

    def found(self, path: str) -> Path | None:
        """The file at an address; a page that is opened is the one that is there now."""
        if path == MODELS and self.folder is not None:
            self.show(self.folder)
        return self.files.get(path)

    @property
    def url(self) -> str:
        """The address of the page, on this machine."""
        host = str(self.server_address[0])
        return self._address(LOOPBACK if host in EVERYWHERE else host)

    @property
    def network_url(self) -> str | None:
        """The address of the page for other machines; None where they have none."""
        if self.server_address[0] not in EVERYWHERE:
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # of documentation; nothing is sent
            except OSError:  # no network
                return None
            return self._address(str(probe.getsockname()[0]))

    def _address(self, name: str) -> str:
        return f"http://{f'[{name}]' if ':' in name else name}:{self.server_address[1]}/"

    def is_own_name(self, host: str) -> bool:
        """Whether a request's Host is this server: a name that somebody else's DNS points here, to
        read the page by a script of theirs, is not."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes a connection is no error."""


def bound(host: str, port: int) -> PageServer:
    """A server that listens, and has no files yet.

    Raises: ConfigError where the port is taken, naming a free one, or the address is not ours.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: a port is a number from 0 (any free one) to 65535.")
    own = socket.gethostname()
    names = (host, own, f"{own.partition('.')[0]}.local")  # the last: in networks without a DNS
    try:
        return PageServer((host, port), names)
    except (UnicodeError, TypeError) as error:  # of a name that DNS cannot have
        raise ConfigError(_no_address(host, "no name of a machine")) from error
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            why = "in use" if error.errno == errno.EADDRINUSE else "not allowed"
            free = _free_port(host)
            raise ConfigError(f"Port {port} is {why}: choose another (--port {free}).") from error
        raise ConfigError(_no_address(host, error.strerror or str(error))) from error


def _no_address(host: str, why: str) -> str:
    return (
        f"This machine has no address '{host}' ({why}): leave --host out for this machine alone "
        f"({LOOPBACK}), or --host 0.0.0.0 for the whole network."
    )


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the listed files."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ganpress", ""
    timeout = 60.0  # seconds that a connection may say nothing
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """The file."""
        self._answer(whole=True)

    def do_HEAD(self) -> None:
        """Its headers."""
        self._answer(whole=False)

    def do_POST(self) -> None:
        """Anything that could change something: there is nothing to change."""
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Connection", "close")  # whatever body follows is not read
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, *, whole: bool) -> None:
        if trouble := self._trouble():
            self.send_error(*trouble)  # which closes the connection
            return
        path = self.server.found(unquote(self.path.partition("?")[0]))
        try:
            file = path.open("rb") if path else None
        except OSError:
            file = None
        if path is None or file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            facts = os.fstat(file.fileno())
            tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
            if tag in self.headers.get("If-None-Match", ""):
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self.send_header("ETag", tag)
                self.end_headers()
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES[path.suffix])
            self.send_header("Content-Length", str(facts.st_size))
            self.send_header("ETag", tag)
            self.end_headers()
            if whole:
                self._send(file, facts.st_size)

    def _send(self, file: BinaryIO, size: int) -> None:
        """So many bytes as were promised, whatever another program does to the file meanwhile."""
        while size and (block := file.read(min(size, 1 << 18))):
            self.wfile.write(block)
            size -= len(block)
        self.close_connection |= size > 0  # cut short: the client sees it

    def _trouble(self) -> tuple[HTTPStatus, str] | None:
        """Why a request is not looked up at all."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1:
            return HTTPStatus.BAD_REQUEST, "one Host is needed"
        if not self.server.is_own_name(hosts[0].strip()):
            return HTTPStatus.FORBIDDEN, "this server is not of that name"
        if self.headers.get("Transfer-Encoding") or self.headers.get("Content-Length", "0") != "0":
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no bodies are taken"
        return None

    def end_headers(self) -> None:
        """With the headers that every answer has."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the page says what is wrong."""


for _method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
    setattr(_Handler, f"do_{_method}", _Handler.do_POST)
