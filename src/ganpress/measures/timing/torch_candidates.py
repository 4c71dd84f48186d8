"""A ganpress model in torch, eager or compiled, as a candidate."""

from __future__ import annotations

from typing import Any

import torch

from ganpress.measures.timing.task import Loaded, Task
from ganpress.models.checkpoint import load
from ganpress.nn.layers import fold_gates
from ganpress.quantisation.quantise import quantise

AUTOCAST = {"bf16": torch.bfloat16}


def load_torch(task: Task, arrays: list[Any]) -> Loaded:
    """The model of a task on its threads, in eval mode and without gradients."""
    torch.set_num_threads(task.threads)
    net: Any = fold_gates(quantise(load(task.path).net.eval(), None))
    inputs = [torch.from_numpy(array) for array in arrays]
    if task.runtime == "compile":
        net = torch.compile(net)
    kind = AUTOCAST.get(task.precision)

    def run() -> Any:
        with torch.inference_mode(), torch.autocast("cpu", kind, enabled=kind is not None):
            return net(*inputs)

    return Loaded(run, torch.__version__, "bf16" if kind else "f32")
