"""What a person sees while a stage runs, and how they stop it between two steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from torch import Tensor

from ganpress.errors import Interrupted

LINE_EVERY_S = 30.0
"""Seconds between two plain lines when the output is not a terminal."""
_REFRESH_EVERY_S = 0.2


class Progress:
    """Step, time left and the last losses: a bar on a terminal, else a plain line now and then."""

    def __init__(
        self, name: str, total: int, first: int, *, budget_s: float, used_s: float, quiet: bool
    ) -> None:
        self.name, self.total, self.first = name, total, first
        self.budget_s, self.used_s = budget_s, used_s
        self.quiet = quiet
        self.losses: Mapping[str, float] = {}
        self._shown = time.monotonic()
        self._step = first
        self._bar: RichProgress | None = None

    def __enter__(self) -> Progress:
        console = Console(stderr=True)
        if not self.quiet and self.first < self.total and console.is_terminal:
            # No refresh thread: data workers may be forked while one holds a lock.
            self._bar = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[text]}", markup=False),
                console=console,
                auto_refresh=False,
                transient=True,
            )
            self._bar.add_task(self.name, total=1.0, text="")
            self._bar.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, step: int, elapsed_s: float) -> None:
        """Show that `step` steps are done after `elapsed_s` seconds in the loop, now and then."""
        self._step = step
        now = time.monotonic()
        wait = LINE_EVERY_S if self._bar is None else _REFRESH_EVERY_S
        if self.quiet or now - self._shown < wait:
            return
        self._shown = now
        text = self.text(step, elapsed_s)
        if self._bar is not None:
            fraction = max(step / self.total, elapsed_s / self.budget_s)
            self._bar.update(self._bar.task_ids[0], completed=min(1.0, fraction), text=text)
            self._bar.refresh()
        else:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def text(self, step: int, elapsed_s: float) -> str:
        """For example '57/100, 0:00:12 gone, 0:00:09 left, loss 0.123'."""
        parts = [f"{step}/{self.total}", f"{_clock(elapsed_s)} gone"]
        if step > self.first:
            per_step = (elapsed_s - self.used_s) / (step - self.first)
            left = min(per_step * (self.total - step), self.budget_s - elapsed_s)
            parts.append(f"{_clock(left)} left")
        shown = {n: v for n, v in self.losses.items() if not n.startswith(("width/", "scale/"))}
        parts += [f"{name} {value:.4g}" for name, value in shown.items()]
        return ", ".join(parts)


def say(line: str, *, quiet: bool) -> None:
    """Print one plain line on stderr about what comes next, unless ``quiet``."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


class Stopper:
    """Notes SIGINT and SIGTERM while it is open, so that a loop can stop between two steps.

    A second SIGINT raises Interrupted where it hits. Handlers are only set in the main thread
    (Python allows no other) and are put back at the end. A forked data worker, which inherits
    them, ignores SIGINT: the main process decides.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: object, error: object, traceback: TracebackType | None) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.signal and number == signal.SIGINT:
            raise Interrupted(
                "Stopped at once by a second SIGINT; the last saved state is kept. "
                "Run the same command again to go on from it.",
                exit_code=128 + number,
            )
        self.signal = self.signal or number


def floats(scalars: Mapping[str, float | Tensor]) -> dict[str, float]:
    """Logged numbers as floats, in one transfer from the device. Raises: TypeError."""
    tensors = {n: v.detach() for n, v in scalars.items() if isinstance(v, Tensor)}
    wrong = [f"'{n}' has shape {tuple(t.shape)}" for n, t in tensors.items() if t.numel() != 1]
    if wrong or "elapsed_s" in scalars or "step" in scalars:
        reason = ", ".join(wrong) or "'step' and 'elapsed_s' are taken"
        raise TypeError(f"log takes one number for each name: {reason}.")
    far = {n: t for n, t in tensors.items() if t.device.type != "cpu"}
    values = {n: float(tensors.get(n, v)) for n, v in scalars.items() if n not in far}
    if far:
        device = next(iter(far.values())).device
        flat = torch.stack([t.reshape(()).float().to(device) for t in far.values()]).tolist()
        values.update(zip(far, flat, strict=True))
    return {name: values[name] for name in scalars}


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
