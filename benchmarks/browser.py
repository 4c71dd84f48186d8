"""Models in the browser, by WebAssembly with one and two threads: milliseconds, pictures a second.

Command:  .venv/bin/python -m benchmarks.browser PAGE | MODEL... [--size 256] [--threads 1,2]
Needs:    a chromium on the PATH; of MODELs ganpress[onnx], and onnxruntime-web as `ganpress site`
          fetches it. PAGE is a folder that `ganpress site` wrote, timed as it is.
Time:     some minutes on two quiet cores: each model is loaded, warmed and run 20 times a round.
Result:   benchmarks/results/browser.json, and browser.md written from it.

The page itself is measured, in Chromium without a head, as a user sees it: each round opens it anew
for each number of threads and each model alone, presses "Measure", and reads what the card shows:
the median milliseconds of the network, and pictures a second with everything the page does for one
(the worker's conversion, and drawing it). All rows take turns. The server sends the headers that
isolate the page, without which WebAssembly has one thread; how many workers the page really
started is in the row. onnxruntime-web's WebAssembly has SIMD in all its builds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ganpress.measures.timing.device import describe, words
from ganpress.web import site
from ganpress.web.building import is_page
from ganpress.web.runtime import WASM
from ganpress.web.server import LOOPBACK, bound, listed

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from chromium import Browser, browser  # the tests' own browser

RESULT = Path(__file__).parent / "results" / "browser"
STATE = "document.documentElement.dataset"
CARD = "document.querySelector('.card').dataset"
MEASURE = """new Promise((done) => {
    const button = document.getElementById("measure");
    new MutationObserver((_, watch) => {
        if (!button.disabled) { watch.disconnect(); done(true); }
    }).observe(button, { attributes: true });
    button.click();
})"""
"""Presses the button and waits, without asking again and again, until it can be pressed again."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a page's folder, with the headers of `ganpress serve`."""
    with bound(LOOPBACK, 0) as server:
        server.files = listed(folder)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def shown(page: Browser, url: str, model: dict[str, Any], threads: int) -> dict[str, Any]:
    """One model alone on the page, measured: what its card says, and how the page ran it."""
    query = {"backend": "wasm", "threads": threads, "left": model["id"], "right": "none"}
    if "image" in model["inputs"]:
        query["input"] = "draw"  # a white picture where there is no other: it is there at once
    page.open(f"{url}?{urlencode(query)}")
    made = f"{STATE}.state === 'ready' && Number({STATE}.made) > 0"
    page.wait_for(f"{STATE}.state === 'failed' || ({made})")
    warned = page.run("document.getElementById('warnings').textContent")
    if page.run(f"{STATE}.state") == "failed":
        raise SystemExit(f"{model['title']}: {warned}")
    page.run(MEASURE)
    started = [e for e in page.events if e.get("method") == "Target.attachedToTarget"]
    return {
        "ms": float(page.run(f"{CARD}.ms")),
        "fps": float(page.run(f"{CARD}.fps")),
        "backend": page.run(f"{STATE}.backend"),
        "threads": int(page.run(f"{STATE}.threads")),
        "isolated": page.run("globalThis.crossOriginIsolated"),
        "workers": sum(e["params"]["targetInfo"]["type"] == "worker" for e in started),
        "wasm": sorted({u.split("/")[-1] for u in page.requests if u.endswith(".wasm")}),
    }


def measured(folder: Path, threads: Sequence[int], rounds: int) -> dict[str, Any]:
    """All rows of a page, in turns."""
    listing = json.loads((folder / "models.json").read_text())
    taken: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with browser() as page, served(folder) as url:
        facts = {
            "device": describe(),
            "browser": next(p for p in page.run("navigator.userAgent").split() if "Chrome/" in p),
            "onnxruntime-web": listing["onnxruntime"]["version"],
            "simd": all("simd" in name for name in WASM if name.endswith(".wasm")),
        }
        for turn in range(rounds):
            for model in listing["models"]:
                for count in threads:
                    one = shown(page, url, model, count)
                    taken.setdefault((model["id"], count), []).append(one)
                    print(f"round {turn + 1}: {model['id']}, {count} threads: {one['ms']:.1f} ms, "
                          f"{one['fps']:.1f} a second", flush=True)  # fmt: skip
    models = {model["id"]: model for model in listing["models"]}
    rows = [row_of(models[name], count, runs) for (name, count), runs in taken.items()]
    return {**facts, "rounds": rounds, "rows": rows}


def row_of(model: dict[str, Any], threads: int, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, and the fastest and slowest of them."""
    ms = sorted(run["ms"] for run in runs)
    how = {key: runs[-1][key] for key in ("backend", "threads", "isolated", "workers", "wasm")}
    return {
        **{key: model[key] for key in ("id", "title", "role", "family", "bytes", "macs", "size")},
        "asked_threads": threads, **how,
        "ms": statistics.median(ms), "low": ms[0], "high": ms[-1],
        "fps": statistics.median(run["fps"] for run in runs),
    }  # fmt: skip


def page_of(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| model | px | file, MB | MACs | threads | network, ms | low to high | pictures / s |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        size = "x".join(str(side) for side in row["size"])
        macs = f"{row['macs'] / 1e9:.2f} G" if row["macs"] else ""
        role = f" ({row['role']})" if row["role"] else ""
        lines.append(
            f"| {row['title']}{role} | {size} | {row['bytes'] / 1e6:.2f} | {macs} | "
            f"{row['threads']} | {row['ms']:.1f} | {row['low']:.1f} to {row['high']:.1f} | "
            f"{row['fps']:.1f} |"
        )
    lines += ["", (
        f"{words(found['device'])}; {found['browser']} without a head, onnxruntime-web "
        f"{found['onnxruntime-web']} by WebAssembly{', SIMD' if found['simd'] else ''}; medians of "
        f"{found['rounds']} rounds of 20 pictures, all models in turns. Written by `python -m "
        "benchmarks.browser`."
    )]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write a page where models are given, measure it, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path, help="a page's folder, or models and runs")
    parser.add_argument("--size", type=int, default=256, help="pixels, of models")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT, help="without an ending")
    a = parser.parse_args()
    counts = [int(count) for count in a.threads.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = a.models[0]
        if len(a.models) > 1 or not is_page(folder):
            folder = site(a.models, Path(temporary) / "page", size=a.size, webgpu=False).folder
        found = measured(folder, counts, a.rounds)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{a.out}.json").write_text(json.dumps(found, indent=1) + "\n")
    Path(f"{a.out}.md").write_text(page_of(found))
    print(page_of(found))


if __name__ == "__main__":
    main()
