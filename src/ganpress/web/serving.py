"""The page on this machine: written to a temporary folder, and served until it is stopped."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ganpress.web.building import is_page, site
from ganpress.web.server import LOOPBACK, PageServer, bound, listed

PORT = 8000


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
    Raises: ConfigError for a port that is taken, and what `site` raises.
    """
    paths = [Path(p) for p in ([models] if isinstance(models, str | Path) else models)]
    with bound(host, port) as server, TemporaryDirectory(prefix="ganpress-page-") as temporary:
        if len(paths) == 1 and is_page(paths[0]):
            folder = paths[0]
        else:
            folder = site(paths, Path(temporary) / "page", **options).folder
        server.files = listed(folder)
        ready(server)
        if open_browser:
            webbrowser.open(server.url)
        server.serve_forever()
