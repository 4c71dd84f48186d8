"""One input module of the page by itself, in the browser: what it gives is kept, no model runs."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from chromium import Browser
from numpy.typing import NDArray

from ganpress.web import building
from ganpress.web.server import LOOPBACK, bound

HARNESS = Path(__file__).parent / "web" / "harness"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which our server serves a folder."""
    with bound(LOOPBACK, 0) as server:
        server.show(folder)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def harness_in(folder: Path) -> Path:
    """The page's modules and the harness, in a folder."""
    for source in (building.STATIC, HARNESS):
        for path in source.iterdir():
            if path.suffix in (".js", ".css", ".html"):
                shutil.copyfile(path, folder / path.name)
    shutil.copyfile(HARNESS / "index.html", folder / "index.html")
    return folder


def start(page: Browser, kind: str, model: dict[str, Any]) -> None:
    """Mount a module, and wait for its first inputs."""
    page.run(f"start({json.dumps(kind)}, {json.dumps(model)})")
    page.run("settled()")


def given(page: Browser, name: str) -> NDArray[np.float32]:
    """The newest input of this name, once nothing more is to come."""
    page.run("settled()")
    dims = page.run(f"given.at(-1).feeds.{name}.dims")
    return np.array(page.run(f"last({json.dumps(name)})"), np.float32).reshape(dims)
