"""The page on this machine: written to a temporary folder, and served until it is stopped."""

from __future__ import annotations

import inspect
import signal
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from ganpress.errors import ConfigError
from ganpress.web.building import is_page, site
from ganpress.web.server import LOOPBACK, PageServer, bound

PORT = 8000
_OPTIONS = {"kind": "--input", "runtime": "--onnxruntime-web", "webgpu": "--no-webgpu"}
"""Options of the command line whose names are not those of `site`'s arguments."""


def serve(
    models: Sequence[Path | str] | Path | str,
    *,
    port: int = PORT,
    host: str = LOOPBACK,
    open_browser: bool = True,
    ready: Callable[[PageServer], object] = lambda server: None,
    **options: Any,
) -> None:
    """Show models in the browser, until Ctrl-C.

    Args:
        models: as `site` takes them; or the folder of one page that `site` wrote.
        port: 0 for any free one.
        host: the address to listen on; 0.0.0.0 for the whole network.
        open_browser: open the page in this machine's browser.
        ready: is called once the page can be opened.
        options: those of `site`.
    Raises: ConfigError for a port that is taken, and for options of a page that is written already;
        what `site` raises.
    """
    paths = [Path(p) for p in ([models] if isinstance(models, str | Path) else models)]
    with (
        _ended_by_signals(),
        bound(host, port) as server,
        TemporaryDirectory(prefix="ganpress-page-") as temporary,
    ):
        if len(paths) == 1 and is_page(paths[0]):
            _check_unset(paths[0], options)
            server.show(paths[0])
        else:
            server.show(site(paths, Path(temporary) / "page", **options).folder)
        ready(server)
        if open_browser:
            webbrowser.open(server.url)
        server.serve_forever()


def _check_unset(page: Path, options: Mapping[str, Any]) -> None:
    """Refuse options that would change what is written. Raises: ConfigError."""
    usual = {name: one.default for name, one in inspect.signature(site).parameters.items()}
    given = [
        _OPTIONS.get(name, f"--{name.replace('_', '-')}")
        for name, value in options.items()
        if value != usual.get(name)
    ]
    if given:
        raise ConfigError(
            f"{page} is a finished page, which is shown as it is: leave {' and '.join(given)} out, "
            "or write it anew of its models (ganpress site)."
        )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM, and the end of the terminal, end the block as Ctrl-C does, so that no page is left
    among the temporary files."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [n for name in ("SIGTERM", "SIGHUP") if (n := getattr(signal, name, None))]
    if threading.current_thread() is not threading.main_thread():  # Python allows no handlers there
        numbers = []
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
