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
FOLLOWED = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
"""Workers are attached before they run: their requests and errors are seen, too."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def program() -> str | None:
    """The browser on this machine, None without one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


CODES = {
    **{"Backspace": 8, "Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36},
    **{"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Delete": 46},
    **{"[": 219, "]": 221},
}
TEXTS = {"Enter": "\r", " ": " "}
MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
Place = tuple[float, float]


class Browser:
    """One page, and the workers that it starts. Messages are JSON, each ended by a zero byte.

    Args: flags: further ones of its command line, such as `FAKE_CAMERA`.
    """

    def __init__(self, home: Path, flags: tuple[str, ...] = ()) -> None:
        read, self._write = os.pipe()
        self._read, write = os.pipe()

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        options += ["--remote-debugging-pipe", "--disable-extensions", "--hide-scrollbars"]
        options += ["--disable-dev-shm-usage", "--disable-background-networking"]
        options += ["--disable-component-update", "--autoplay-policy=no-user-gesture-required"]
        command = [str(program()), *options, *flags, f"--user-data-dir={home}", "about:blank"]
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
        for part in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.ask(f"{part}.enable")
        self.ask("Target.setAutoAttach", **FOLLOWED)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers; events that come before are kept in `events`."""
        sent = self._send(method, params, self._session)
        while True:
            answer = self._next()
            if answer.get("id") == sent:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def _send(self, method: str, params: dict[str, Any], session: str | None) -> int:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._count

    def open(
        self, page: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """Open a file or an address as a page of this size, and wait until it has loaded."""
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
        url = page if isinstance(page, str) else page.resolve().as_uri()
        self.ask("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        found = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """The value of an expression as soon as it is true; asked every 20 ms."""
        end = time.monotonic() + PATIENCE_S
        while not (value := self.run(condition)):
            assert time.monotonic() < end, f"not true in {PATIENCE_S} s: {condition}"
            time.sleep(0.02)
        return value

    def press(self, key: str, *held: str) -> None:
        """A key of the keyboard, such as ArrowRight or p, where the focus is; with modifiers."""
        code = CODES.get(key, ord(key[0].upper()))
        modifiers = sum(MODIFIERS[name] for name in held)
        plain = key if len(key) == 1 and not {"Control", "Alt", "Meta"} & set(held) else None
        text = TEXTS.get(key, plain)
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key if len(key) > 1 else f"Key{key.upper()}",
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> Place:
        """A place within an element, from 0 to 1, in pixels of the window; scrolled into view."""
        box = self.run(
            f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
                e.scrollIntoView({{ block: "nearest", behavior: "instant" }});
                const {{ left, top, width, height }} = e.getBoundingClientRect();
                return [left, top, width, height]; }})()"""
        )
        return box[0] + x * box[2], box[1] + y * box[3]

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """With the mouse, on an element."""
        self.drag([self.place(selector, x, y)])

    def drag(self, places: list[Place], *, pointer: str = "mouse", button: str = "left") -> None:
        """From the first place to the last; ``pointer`` is "mouse" or "pen" (a stylus)."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
            self.ask(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button=button,
                buttons=int(kind != "mouseReleased"),
                clickCount=1,
                pointerType=pointer,
            )

    def swipe(self, places: list[Place]) -> None:
        """With one finger."""
        kinds = ["touchStart", *["touchMove"] * (len(places) - 1)]
        for kind, (x, y) in zip(kinds, places, strict=True):
            self.ask("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def choose_file(self, selector: str, file: Path) -> None:
        """In a field for files."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        found = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", files=[str(file.resolve())], nodeId=found)

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
        found: dict[str, Any] = json.loads(message)
        if found.get("method") == "Target.attachedToTarget":
            worker = found["params"]["sessionId"]
            for method in ("Network.enable", "Runtime.enable", "Log.enable"):
                self._send(method, {}, worker)
            self._send("Target.setAutoAttach", FOLLOWED, worker)
            self._send("Runtime.runIfWaitingForDebugger", {}, worker)
        return found

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
def browser(*flags: str) -> Iterator[Browser]:
    """A browser that is gone afterwards."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as home,
        Browser(Path(home), flags) as opened,
    ):
        yield opened
