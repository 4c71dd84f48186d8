"""What every test runs under: one torch thread, fixed examples, nothing left open, skips that
give a reason."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts; child processes inherit it
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers have the folder of the process above them
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="ganpress-tests-cache-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from chromium import program as chromium
from hub_server import hub as hub  # a fixture
from quick_exports import keep_export_tables

from ganpress.measures.cost import Latency, latency
from ganpress.web.runtime import PACKAGE

torch.set_num_threads(1)  # one per xdist worker: two cores, two workers, and repeatable sums
hypothesis.settings.register_profile("ganpress", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ganpress")
os.fsync = lambda _: None  # no test's files have to outlive a power cut; a disk takes milliseconds
gc.set_threshold(100_000, 10_000, 10_000)  # each test ends with a collection of what it made

FOLDERS = {
    "shared_data": "GANPRESS_DATA",
    "shared_weights": "GANPRESS_WEIGHTS",
    "shared_interop": "GANPRESS_INTEROP",
}
GPU_TESTS_ON = os.environ.get("GANPRESS_GPU_TESTS_ON", "cuda")
"""The device of the tests marked `gpu`; "cpu" shows, where there is no GPU, that they run."""
RUNTIME = "GANPRESS_ONNXRUNTIME_WEB"
ON_REQUEST = ("slow", "network")


@pytest.fixture(scope="module", autouse=True)
def forgets_the_module_before() -> None:
    """What tests of another module kept is collected before this one; what is alive now, imports
    and caches, is not looked at again: to look at all of it takes a second, in 200 modules."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def closes_what_it_opens() -> Iterator[None]:
    """A socket, file or process that a test leaves open is that test's error.

    Without the collection it is the error of whichever test runs when the collector does. What a
    module's fixtures keep is among the old objects, which are looked at when the module has ended.
    """
    yield
    keep_export_tables()
    gc.collect(1)


@pytest.fixture(scope="session", autouse=True)
def times_little_of_what_a_run_leaves() -> Iterator[None]:
    """Timing a student takes two seconds, exporting its teacher and timing that more, also in runs
    of modules' fixtures: the tests that are about it call what they have imported themselves."""

    def glance(net: Any, **options: Any) -> Latency:
        return latency(net, **{**options, "seconds": 0.0, "warm_up": 0})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganpress.measures.both_costs.latency", glance)
        patch.setattr("ganpress.measures.timing.shipped.time_files", lambda *_, **__: None)
        patch.setattr("ganpress.measures.timing.shipped.time_model", lambda *_, **__: [])
        yield


def reason_to_skip(marker: str, expression: str) -> str | None:
    """Why a test with this marker cannot run here, or None; `expression` is pytest's `-m`."""
    if marker in FOLDERS:
        variable = FOLDERS[marker]
        folder = os.environ.get(variable)
        if not folder:
            return f"{variable} is not set; point it to the folder of shared files"
        if not Path(folder).is_dir():
            return f"{variable} names {folder}, which is not a folder"
    if marker in ON_REQUEST and marker not in expression:
        return f"runs only on request: pytest -m {marker}"
    if marker == "onnxruntime_web" and not Path(os.environ.get(RUNTIME) or "/").is_file():
        return f"{RUNTIME} names no file; 'npm pack {PACKAGE.spec}' writes it"
    if marker == "chromium" and chromium() is None:
        return "needs Chromium (apt-get install chromium), and there is none on the path"
    if marker == "gpu" and not torch.cuda.is_available() and GPU_TESTS_ON != "cpu":
        return "needs a CUDA device, and torch sees none"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason, each test whose marker asks for what this machine lacks."""
    reasons: dict[str, str | None] = {}
    for item in items:
        for marker in {mark.name for mark in item.iter_markers()}:
            if marker not in reasons:
                reasons[marker] = reason_to_skip(marker, config.option.markexpr)
            if reason := reasons[marker]:
                item.add_marker(pytest.mark.skip(reason=reason))
