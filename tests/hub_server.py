"""A stand-in of the hub's HTTP API on loopback: what huggingface_hub calls to push and to fetch.

Repositories with branches, tags and commits; large files by git-lfs, through a redirect as on the
hub; tokens that may read or write; and faults that a test turns on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hub_state import LARGE, READER, WRITER, Blob, Hub, Repo

NAME = r"(?P<repo>[^/]+/[^/]+)"


class Refused(Exception):
    def __init__(self, status: int, code: str = "", text: str = "") -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    @property
    def token(self) -> str | None:
        given = self.headers.get("authorization", "")
        return given.removeprefix("Bearer ") or None

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.token))
        try:
            if (status := self.hub.answer(self.command, path)) is not None:
                raise Refused(status, text="as the test asked")
            for method, pattern, act in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method.split("|"):
                    act(self, **found.groupdict())
                    return
            raise Refused(404, "EntryNotFound", f"no route {self.command} {path}")
        except Refused as refused:
            body = json.dumps({"error": refused.text}).encode()
            headers = {"X-Error-Code": refused.code} if refused.code else {}
            self._send(body, refused.status, {**headers, "X-Error-Message": refused.text})

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    # --- what each request needs -----------------------------------------------------------------

    def _repo(self, repo: str) -> Repo:
        home = self.hub.repos.get(repo)
        if home is None or (home.private and self.token not in (WRITER, READER)):
            raise Refused(401 if self.token is None else 404, "RepoNotFound", "not found")
        return home

    def _commit(self, repo: str, revision: str) -> tuple[str, dict[str, Blob]]:
        home = self._repo(repo)
        digest = home.refs.get(revision, revision)
        if digest not in home.commits:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return digest, home.commits[digest]

    def _may_write(self, repo: str) -> Repo:
        if self.token not in (WRITER, READER):
            raise Refused(401, text="Invalid credentials in Authorization header")
        if self.token == READER:
            raise Refused(403, text="Forbidden: you need a token with write access")
        return self._repo(repo)

    # --- reading ---------------------------------------------------------------------------------

    def info(self, repo: str, revision: str = "main") -> None:
        home = self._repo(repo)
        if not home.refs:
            self._json({"id": repo, "sha": "0" * 40, "siblings": [], "private": home.private})
            return
        digest, files = self._commit(repo, revision)
        siblings = []
        for name, blob in sorted(files.items()):
            entry = {"rfilename": name, "size": len(blob.data), "blobId": blob.git}
            lfs = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": 134}
            siblings.append({**entry, **({"lfs": lfs} if blob.large else {})})
        facts = {"id": repo, "sha": digest, "private": home.private, "siblings": siblings}
        self._json(facts)

    def refs(self, repo: str) -> None:
        named = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": digest}
            for name, digest in self._repo(repo).refs.items()
        ]
        self._json({"branches": named, "tags": [], "converts": []})

    def resolve(self, repo: str, revision: str, file: str) -> None:
        if self._repo(repo).gated:
            raise Refused(403, "GatedRepo", "Access to it is restricted")
        digest, files = self._commit(repo, revision)
        if file not in files:
            raise Refused(404, "EntryNotFound", "Entry not found")
        blob = files[file]
        headers = {"X-Repo-Commit": digest, "ETag": f'"{blob.etag}"'}
        if blob.large:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
            self.hub.stored[blob.sha256] = blob.data
            self._send(b"", 302, {**headers, "Location": f"{self.hub.cdn}/cdn/{blob.sha256}"})
            return
        self._bytes(blob.data, headers)

    def cdn(self, digest: str) -> None:
        self._bytes(self.hub.stored[digest], {})

    def _bytes(self, data: bytes, headers: dict[str, str]) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if span:
            first, last = int(span[1]), int(span[2] or len(data) - 1)
            part = data[first : last + 1]
            shown = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
            self._send(part, 206, {**headers, "Content-Range": shown})
            return
        self._send(self.hub.lie(data), 200, headers)

    # --- writing ---------------------------------------------------------------------------------

    def create(self) -> None:
        asked = json.loads(self._body())
        repo = f"{asked['organization']}/{asked['name']}"
        if self.token not in (WRITER, READER):
            raise Refused(401, text="Invalid credentials in Authorization header")
        if repo in self.hub.repos:
            self._json({"url": f"{self.hub.url}/{repo}", "error": "you already created it"}, 409)
            return
        if self.token == READER:
            raise Refused(403, text="Forbidden: you need a token with write access")
        self.hub.repos[repo] = Repo(private=asked.get("visibility") == "private")
        self._json({"url": f"{self.hub.url}/{repo}"})

    def branch(self, repo: str, name: str) -> None:
        home = self._may_write(repo)
        if name in home.refs:
            raise Refused(409, text="Reference already exists")
        self._body()
        if "main" in home.refs:
            home.refs[name] = home.refs["main"]
        else:
            home.commit({}, name)
        self._json({})

    def validate(self) -> None:
        text = json.loads(self._body())["content"]
        ok = text.startswith("---\n") and "library_name" in text
        self._json({"errors": [] if ok else [{"message": "no head"}]}, 200 if ok else 400)

    def preupload(self, repo: str, revision: str) -> None:
        home, asked = self._may_write(repo), json.loads(self._body())
        there = home.commits.get(home.refs.get(revision, ""), {})
        files = [
            {
                "path": (name := entry["path"]),
                "uploadMode": "lfs" if name.endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": there[name].etag if name in there else None,
            }
            for entry in asked["files"]
        ]
        self._json({"files": files})

    def batch(self, repo: str) -> None:
        self._may_write(repo)
        objects = []
        for wanted in json.loads(self._body())["objects"]:
            oid = wanted["oid"]
            href = {"href": f"{self.hub.url}/lfs/{oid}", "header": {}}
            new = {} if oid in self.hub.stored else {"actions": {"upload": href}}
            objects.append({**wanted, **new})
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, digest: str) -> None:
        length = int(self.headers["content-length"])
        if self.hub.break_uploads:
            self.hub.break_uploads -= 1
            self.rfile.read(length // 2)
            self.connection.shutdown(2)
            return
        data = self.rfile.read(length)
        if hashlib.sha256(data).hexdigest() != digest:
            raise Refused(400, text="hash mismatch")
        self.hub.stored[digest] = data
        self._send(b"")

    def commit(self, repo: str, revision: str) -> None:
        home = self._may_write(repo)
        files = dict(home.commits.get(home.refs.get(revision, ""), {}))
        message = ""
        for line in self._body().splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                files[value["path"]] = Blob(self.hub.stored[value["oid"]], True)
            elif key == "deletedFile":
                del files[value["path"]]
        digest = home.commit(files, revision, message)
        self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{digest}", "commitOid": digest})


ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("GET", rf"/api/models/{NAME}/revision/(?P<revision>.+)", Handler.info),
    ("GET", rf"/api/models/{NAME}/refs", Handler.refs),
    ("POST", rf"/api/models/{NAME}/branch/(?P<name>.+)", Handler.branch),
    ("POST", rf"/api/models/{NAME}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"/api/models/{NAME}/commit/(?P<revision>.+)", Handler.commit),
    ("GET", rf"/api/models/{NAME}", Handler.info),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/(?P<digest>\w+)", Handler.upload),
    ("GET|HEAD", r"/cdn/(?P<digest>\w+)", Handler.cdn),
    ("GET|HEAD", rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", Handler.resolve),
]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub for one test, with a cache of its own and the token of one who may write."""
    import huggingface_hub
    from huggingface_hub import constants

    huggingface_hub.close_session()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # nothing asks another host
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
        huggingface_hub.close_session()


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up, as the tests make it do, prints nothing."""


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of loopback, for as long as the block runs."""
    hub = Hub()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.cdn = hub.url.replace("127.0.0.1", "localhost")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
