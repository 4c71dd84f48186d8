"""Chromium without a head, driven through its debugging pipe: no package is needed for that."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from patience import PATIENCE_S

# Runs argv[3:] with two pipes where the browser looks for them: it reads 3 and writes 4.
WIRED = """
import os, sys
os.dup2(os.dup(int(sys.argv[1])), 103)
os.dup2(os.dup(int(sys.argv[2])), 104)
os.dup2(103, 3)
os.dup2(104, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def program() -> str | None:
    """The browser on this machine, None without one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page. Messages are JSON, each ended by a zero byte."""

    def __init__(self, home: Path) -> None:
        read, self._write = os.pipe()
        self._read, write = os.pipe()

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        options += ["--remote-debugging-pipe", "--disable-extensions", "--hide-scrollbars"]
        options += ["--disable-dev-shm-usage", "--disable-background-networking"]
        command = [str(program()), *options, f"--user-data-dir={home}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", WIRED, str(read), str(write), *command],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home)},
        )
        os.close(read)
        os.close(write)
        self._rest, self._count, self.events = b"", 0, list[dict[str, Any]]()
        self._session: str | None = None
        pages = self.ask("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for part in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{part}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers; events that come before are kept in `events`."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file as a page of this size, and wait until it has loaded."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        found = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key of the keyboard, such as ArrowRight, where the focus is."""
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9, "Enter": 13}
        for kind in ("keyDown" if key == "Enter" else "rawKeyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **({"text": "\r"} if key == "Enter" else {}),
            )

    def shot(self, path: Path, *, whole: bool = True) -> Path:
        """A picture of the page."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for, data in the page itself aside."""
        sent = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        found = [str(e["params"]["request"]["url"]) for e in sent]
        return [url for url in found if not url.startswith("data:")]

    @property
    def complaints(self) -> list[str]:
        """Errors of scripts, and what the page's policy refused; not advice on rendering."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        found = [e["params"] for e in self.events if e.get("method") in kinds]
        return [str(one) for one in found if one.get("entry", {}).get("source") != "rendering"]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            assert part, f"the browser has gone, or said nothing in {PATIENCE_S} s"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._write)  # the browser ends with its pipe
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that is gone afterwards."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as home, Browser(Path(home)) as opened:
        yield opened
