"""A compression in two processes is one with the same global batch.

They are forked, with the environment that torchrun gives (test_distributed.py has torchrun itself).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from cagc_runs import settings
from family_runs import write_domains
from forked import CONTEXT
from nets import WIRINGS
from ofa_runs import brief, images_for, teacher_of
from patience import PATIENCE_S
from safetensors.torch import load_file

from ganpress.methods.compress import compress
from ganpress.models.checkpoint import load
from ganpress.run import distributed
from ganpress.run.files import read_json
from ganpress.run.logs import read_log

CASES: dict[str, Any] = {
    "munit": settings(data={"batch": 4}),
    "stylegan2": settings(
        data={"batch": 4},
        path={"every": 2},
        discriminator={"weight": 0.0},
        finetune={"steps": 3},
    ),
}
"""Without what looks at a process's own pictures together: minibatch statistics, BatchNorm, MMD."""


def press(name: str, root: Path) -> None:
    wiring = WIRINGS[name]
    with pytest.MonkeyPatch.context() as patch:
        brief(patch)
        compress(
            teacher_of(name),
            images_for(wiring, root / "data"),
            run=root / name.split()[0],
            config=CASES[name],
            method="content-aware",
            quiet=True,
        )


def press_together(rank: int, port: int, root: Path) -> None:
    """What process ``rank`` of two does."""
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
    }
    torch.set_num_threads(1)
    for name in CASES:
        press(name, root)
    if distributed.rank() == 0:
        distributed.stop()


def in_two_processes(root: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [CONTEXT.Process(target=press_together, args=(rank, port, root)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in both] == [0, 0]


def test_two_processes_make_the_student_of_one(tmp_path: Path) -> None:
    for count in ("one", "two"):
        write_domains(tmp_path / count / "data")
    in_two_processes(tmp_path / "two")
    for name in CASES:
        press(name, tmp_path / "one")
        one, two = (tmp_path / count / name.split()[0] for count in ("one", "two"))
        a, b = (load(folder / "student.safetensors") for folder in (one, two))
        shown = WIRINGS[name].inputs(2)
        torch.testing.assert_close(b(*shown), a(*shown), rtol=0, atol=1e-3, msg=name)
        logs = [read_log(folder / "finetune" / "log.jsonl") for folder in (one, two)]
        for ours, theirs in zip(*logs, strict=True):
            losses = {n: v for n, v in ours.items() if n.startswith("loss/")}
            assert losses == pytest.approx({n: theirs[n] for n in losses}, rel=1e-3, abs=1e-6)
        assert read_json(two / "results.json")["model"] and (two / "report.html").exists()
        scores = [load_file(folder / "score" / "scores.safetensors") for folder in (one, two)]
        assert all(torch.equal(s, scores[1][g]) for g, s in scores[0].items())
