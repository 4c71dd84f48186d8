"""One loop of a run: the iterator that resumes, seeds, saves, stops and shows progress."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image
from torch import Tensor

from ganpress.errors import ConfigError, DiskFull, Diverged, Interrupted
from ganpress.run import distributed
from ganpress.run.card import note_resume, now_utc
from ganpress.run.files import check_name, make_folder, replace_file, write_json
from ganpress.run.grid import grid
from ganpress.run.logs import append, cut_log
from ganpress.run.progress import Progress, Stopper, floats
from ganpress.run.snapshot import (
    Stateful,
    load_state,
    non_finite,
    put_state,
    save_state,
    take_state,
)

if TYPE_CHECKING:
    from ganpress.run.run import Run

_FLUSH_EVERY_S = 1.0


class Stage:
    """One loop of a run: its folder holds log.jsonl, state.pt, done.json and images/.

    `first` is the step the loop starts at, known once `steps` was called, before its first
    step: a data stream made in between can start at the same one. `progress` is 0 to 1, for
    schedules: the share of the steps, or of the minutes if that is larger. Under torchrun all
    processes take the same steps, by process 0's clock and signals, and log their mean.
    """

    def __init__(self, run: Run, name: str) -> None:
        check_name(name, "The stage")
        self.run, self.name = run, name
        self.root = make_folder(run.root / name)
        self.first = 0
        self.progress = 0.0
        self._total, self._budget_s = 0, math.inf
        self._boundary_s = 0.0  # seconds in the loop, over all resumes, at the last step's end
        self._zero: float | None = None  # the clock's reading at 0 seconds; None outside the loop
        self._saved: int | None = None
        self._bad: str | None = None
        self._exempt: set[str] = set()
        self._lines: list[dict[str, float]] = []
        self._bar: Progress | None = None
        self._open = ExitStack()

    @property
    def elapsed_s(self) -> float:
        """Seconds spent in the loop, over all resumes."""
        return self._boundary_s if self._zero is None else time.monotonic() - self._zero

    def steps(
        self,
        total: int,
        *,
        save_every: int | None = None,
        minutes: float | None = None,
        **state: Stateful,
    ) -> Iterator[int]:
        """Yield the steps that are left of 0 .. total-1, after putting `state` back.

        The state is put back by this call; torch, numpy and random are seeded from (seed,
        stage, step) before each step and once after the last. The state is saved only
        between two steps, and only if all its float tensors are finite.

        Args:
            total: steps of the whole loop, >= 0.
            save_every: save every so many steps, too, besides the run's save_every_s.
            minutes: the loop also ends after this time in it, over all resumes; > 0.
            state: what changes in the loop: modules, optimisers, schedules, generators.
        Raises: Interrupted after SIGINT or SIGTERM, the state saved; Diverged; DiskFull;
            CheckpointError if the saved state does not fit; ConfigError.
        """
        every = 1 if save_every is None else save_every
        if total < 0 or every < 1 or (minutes is not None and not minutes > 0):
            raise ConfigError(
                f"Stage '{self.name}' has {total} steps, save_every {save_every} and minutes "
                f"{minutes}: give at least 0 steps, 1 step and more than 0 minutes."
            )
        self._total, self._budget_s = total, math.inf if minutes is None else 60.0 * minutes
        self._restore(state)
        return self._loop(state, save_every or sys.maxsize)

    def log(self, step: int, /, **scalars: float | Tensor) -> None:
        """Check that all `scalars` are finite; every `log_every` steps, add them to log.jsonl.

        Args:
            step: the step they belong to. Several calls in one step make one line.
            scalars: numbers or one-element tensors on any device (one transfer per call).
        Raises: Diverged if any is NaN or infinite; no state is saved any more after that.
        """
        values = floats(scalars)
        values = dict(zip(values, distributed.means(list(values.values())), strict=True))
        bad = [f"'{name}' is {value}" for name, value in values.items() if not math.isfinite(value)]
        if bad or self._bad is not None:
            self._diverge(" and ".join(bad), step)
        if self._bar is not None:
            self._bar.losses = {**self._bar.losses, **values}
        if step % self.run.log_every and step + 1 != self._total:
            return
        if not self._lines or self._lines[-1]["step"] != step:
            self._lines.append({"step": step, "elapsed_s": round(self.elapsed_s, 3)})
        self._lines[-1].update(values)
        if self._zero is None:
            self._flush()

    def give_up(self, what: str, step: int) -> NoReturn:
        """Raises: Diverged, for a reason that `log` cannot see; no state is saved after that."""
        self._diverge(what, step)

    def images(self, step: int, name: str, tensor: Tensor, *, columns: int | None = None) -> None:
        """Write a grid of images to images/{name}-{step:07d}.png. Raises: DiskFull.

        Args:
            tensor: (n, 1 to 4, h, w), [-1, 1]; values outside are clamped.
            columns: images in a row; the default makes the grid about square.
        """
        check_name(name, "The image")
        if distributed.rank():
            return
        path = make_folder(self.root / "images") / f"{name}-{step:07d}.png"
        picture = Image.fromarray(grid(tensor, columns=columns))
        replace_file(path, lambda file: picture.save(file, format="PNG"))

    def finish(self, **facts: Any) -> None:
        """Write done.json: this stage has finished. `facts` are JSON values. Raises: DiskFull."""
        if distributed.rank():
            return
        self._flush()
        known = {"stage": self.name, "steps": self._saved, "elapsed_s": round(self.elapsed_s, 3)}
        write_json(self.root / "done.json", {**known, "finished": now_utc(), **facts})

    def _restore(self, state: Mapping[str, Stateful]) -> None:
        self.first, self._saved, self._boundary_s = 0, None, 0.0
        self._bad, self._lines = None, []
        saved = load_state(self.root)
        if saved is not None:
            if saved["step"] > self._total:
                raise ConfigError(
                    f"Stage '{self.name}' in {self.run.root} has done {saved['step']} steps, "
                    f"more than the {self._total} asked for. Ask for more, or start elsewhere."
                )
            put_state(state, saved["of"], self.root / "state.pt")
            self.first = self._saved = saved["step"]
            self._boundary_s = saved["elapsed_s"]
        self._exempt = non_finite(take_state(state))
        self._set_progress(self.first)
        if distributed.rank():
            return
        (self.run.root / "failed.json").unlink(missing_ok=True)  # the run goes on
        cut_log(self.root / "log.jsonl", self.first)
        if self.first > 0 and self.progress < 1.0:
            note_resume(self.run.root, self.name, self.first)

    def _loop(self, state: Mapping[str, Stateful], save_every: int) -> Iterator[int]:
        step = self.first
        with ExitStack() as self._open:
            stop = self._open.enter_context(Stopper())
            self._bar = self._open.enter_context(self._new_bar())
            self._open.callback(self._leave)
            saved_at = flushed_at = time.monotonic()
            self._zero = saved_at - self._boundary_s
            while (
                step < self._total
                and self._boundary_s < self._budget_s
                and not distributed.agree(stop.signal)
            ):
                self.run.seed_all(f"{self.name}/{step}")
                yield step
                step += 1
                self._close_step(step)
                now = time.monotonic()
                waited_s = distributed.agree(now - saved_at)
                if step % save_every == 0 or waited_s >= self.run.save_every_s:
                    self._save(step, state)
                    saved_at = flushed_at = time.monotonic()
                elif now - flushed_at >= _FLUSH_EVERY_S:
                    self._flush()
                    flushed_at = now
            if self._saved != step:
                self._save(step, state)
        if number := distributed.agree(stop.signal):
            raise self._interrupted(number, step)
        self.run.seed_all(f"{self.name}/end")

    def _new_bar(self) -> Progress:
        budget_s, used_s = self._budget_s, self._boundary_s
        quiet = self.run.quiet or distributed.rank() > 0
        return Progress(
            self.name, self._total, self.first, budget_s=budget_s, used_s=used_s, quiet=quiet
        )

    def _close_step(self, step: int) -> None:
        if self._bad is not None:
            raise Diverged(self._bad)
        # Whether the minutes are over depends on the time that is saved with the state, so that
        # a resumed run ends at the same step.
        self._boundary_s = distributed.agree(self.elapsed_s)
        self._set_progress(step)
        if self._bar is not None:
            self._bar.update(step, self._boundary_s)

    def _set_progress(self, step: int) -> None:
        share = step / self._total if self._total else 1.0
        self.progress = min(1.0, max(share, self._boundary_s / self._budget_s))

    def _save(self, step: int, state: Mapping[str, Stateful]) -> None:
        states = take_state(state)
        broken = sorted(non_finite(states) - self._exempt)
        if any(distributed.means([len(broken)])):
            named = f"'{broken[0]}'" if broken else "of another process"
            named += f" (and {len(broken) - 1} more)" if broken[1:] else ""
            self._diverge(f"the state {named} is not finite", step - 1)
        self._flush(sync=True)  # before the state, so that no line before its step can be missing
        content = {"step": step, "elapsed_s": self._boundary_s, "of": states}
        save_state(self.root, content)
        self._saved = step

    def _flush(self, *, sync: bool = False) -> None:
        if distributed.rank():
            self._lines = []
            return
        path = self.root / "log.jsonl"
        if self._lines or (sync and path.exists()):
            text = "".join(json.dumps(line) + "\n" for line in self._lines)
            append(path, text.encode(), sync=sync)
            self._lines = []

    def _leave(self) -> None:
        self._zero = self._bar = None
        with suppress(DiskFull):  # the reason for leaving matters more
            self._flush()

    def _diverge(self, what: str, step: int) -> NoReturn:
        if self._bad is None:
            kept = f"The last good state, after {self._saved} steps, is kept in {self.root}"
            self._bad = (
                f"Training diverged: {what} at step {step} of stage '{self.name}'. "
                + (kept if self._saved is not None else "No state had been saved yet")
                + ". The same settings would diverge again: lower the learning rate or the "
                "weight of that term, and start in another folder."
            )
            self._open.close()
        raise Diverged(self._bad)

    def _interrupted(self, number: int, step: int) -> Interrupted:
        return Interrupted(
            f"Stopped by {signal.Signals(number).name} after {step} of {self._total} steps of "
            f"stage '{self.name}'; the state is saved in {self.root}. "
            "Run the same command again to go on.",
            exit_code=128 + number,
        )
