"""Processes of a test's own, forked from one that has imported what they need."""

from __future__ import annotations

import multiprocessing

# One list for all modules: Python keeps the last one that was set, and one server for the process.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("pytest", "filelock", "tomlkit", "safetensors.torch", "torch._dynamo"),
        *("ganpress.cli.app", "ganpress.run.run", "ganpress.data.drawn.draw"),
        *("ganpress.methods.compress", "ganpress.methods.gan_slimming.settings"),
        *("ganpress.measures.fidelity", "ganpress.formats.exporters.verify"),
    ]
)
