"""Pieces of a GPU run: their time, their files, and what happens when one is cut short or fails."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from benchmarks.gpu.summary import FACTS, summary
from ganpress.errors import ConfigError, Interrupted
from ganpress.measures.timing.device import processor
from ganpress.run.card import now_utc
from ganpress.run.files import make_folder, read_json, replace_file, write_json

ROOT = Path(__file__).parents[2]
GRACE_S = 15.0
"""Seconds that a piece has at the end of its time to save what it has."""
DONE, PART, FAILED, NOT_RUN = "done", "cut short", "failed", "not run"


@dataclass(frozen=True)
class Device:
    """Where the pieces run: "cuda" or "cpu"; ``tiny``: in sizes that only show that they run."""

    kind: str
    tiny: bool = False

    @property
    def name(self) -> str:
        """As the maker calls it."""
        return torch.cuda.get_device_name() if self.kind == "cuda" else processor()

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.kind == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Budget:
    """The time that a piece has: it should be finished at ``end_s`` of `time.monotonic`."""

    end_s: float

    @property
    def left_s(self) -> float:
        """Seconds left, 0 or more."""
        return max(0.0, self.end_s - time.monotonic())


@dataclass(frozen=True)
class Output:
    """What a piece writes.

    Attributes:
        folder: of the results that are taken home: a few small files.
        work: a folder of the piece's own, kept between tries: runs, caches, weights.
        known: what the piece had saved when it was cut short; empty at the first try.
        facts: what every result says of device, source and command.
    """

    name: str
    folder: Path
    work: Path
    known: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The piece's JSON file."""
        return self.folder / f"{self.name}.json"

    def save(self, found: Mapping[str, Any], status: str = PART, **more: Any) -> None:
        """Write what was found so far: the piece goes on from there if it is cut short."""
        whole = {"piece": self.name, "status": status, **self.facts, **more, **found}
        for folder in (self.work, self.folder):
            write_json(folder / self.path.name, whole)

    def picture(self, data: bytes) -> str:
        """Write the piece's picture; the name of the file."""
        name = f"{self.name}.jpg"
        for folder in (self.work, self.folder):
            replace_file(folder / name, lambda file: file.write(data))
        return name


@dataclass(frozen=True)
class Piece:
    """Something that is measured.

    Attributes:
        share: of the minutes, at most; time that earlier pieces left is not counted in.
        least_s: seconds without which it need not begin.
        run: (output, device, budget) -> what it found, JSON values. ``table`` (a list of rows, the
            first one the heads) and ``picture`` (a file's name) are shown in the summary, and
            ``unfinished``, if true, says that the piece is to go on at the next call.
    """

    name: str
    share: float
    least_s: float
    run: Callable[[Output, Device, Budget], Mapping[str, Any]] = field(repr=False)


class TimeIsUp(BaseException):
    """The piece's time has run out."""


class Stopped(BaseException):
    """SIGTERM or SIGINT: the whole command ends."""


def run_pieces(
    pieces: Sequence[Piece], device: Device, out: Path, work: Path, *, minutes: float
) -> int:
    """Run the pieces in order within the minutes; 1 where one failed, 130 where all was stopped."""
    ends = time.monotonic() + 60 * minutes
    facts = facts_of(device)
    make_folder(out)
    states: dict[str, str] = {}
    for piece in pieces:
        output = output_of(piece, out, work, facts)
        if status_of(output.path) == DONE and output.known:
            say(f"{piece.name}: is done")
            continue
        left_s = ends - time.monotonic()
        if left_s < piece.least_s * (0.1 if device.tiny else 1):
            states[piece.name] = (
                f"{NOT_RUN}: {left_s:.0f} s were left, {piece.least_s:.0f} are needed"
            )
            say(f"{piece.name}: {states[piece.name]}")
        else:
            budget = Budget(time.monotonic() + min(left_s - GRACE_S, 60 * minutes * piece.share))
            say(f"{piece.name}: has {budget.left_s:.0f} s")
            if not run_piece(piece, output, device, budget):
                write_summary(out, facts, states)
                return 130
        write_summary(out, facts, states)
    write_summary(out, facts, states)
    return int(any(status_of(out / f"{piece.name}.json") == FAILED for piece in pieces))


def run_piece(piece: Piece, output: Output, device: Device, budget: Budget) -> bool:
    """Run one piece and write how it ended; False where the whole command is to stop."""
    began, goes_on = time.monotonic(), True
    output.save(own(output.known))  # of this call, even if nothing else is ever written
    before_s = float(output.known.get("seconds", 0))

    def close(status: str, found: Mapping[str, Any]) -> None:
        seconds = round(before_s + time.monotonic() - began, 1)
        output.save({**own(saved(output.path)), **found}, status, seconds=seconds)
        say(f"{piece.name}: {status} after {seconds:.0f} s")

    try:
        with alarm(budget.left_s):
            found = piece.run(output, device, budget)
        close(PART if found.get("unfinished") else DONE, found)
    except TimeIsUp:
        close(PART, {})
    except (Stopped, KeyboardInterrupt):
        close(PART, {})
        goes_on = False
    except Interrupted:  # a training loop has noted the signal and saved its state
        goes_on = budget.left_s <= 1
        close(PART, {})
    except Exception as error:
        traceback.print_exc()
        last = traceback.format_exc().splitlines()[-12:]
        close(FAILED, {"error": f"{type(error).__name__}: {error}", "traceback": last})
    finally:
        if device.kind == "cuda":
            torch.cuda.empty_cache()
    return goes_on


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Within, the end of the time is a SIGTERM to this process, which a training loop of ganpress
    takes as the wish to save and stop; outside of one it raises `TimeIsUp`. SIGTERM from elsewhere
    raises `Stopped`."""
    ends, owner = time.monotonic() + seconds, os.getpid()

    def ring(_: int, __: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(number: int, __: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked data worker
            os._exit(128 + number)
        raise TimeIsUp if time.monotonic() >= ends else Stopped

    before = signal.signal(signal.SIGALRM, ring), signal.signal(signal.SIGTERM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGTERM, before[1])


# --- what is there ------------------------------------------------------------------------------


def output_of(piece: Piece, out: Path, work: Path, facts: Mapping[str, Any]) -> Output:
    """The piece's files. What an earlier try found is known if it was of this source and device; it
    is put back into ``out`` where that folder is a new one."""
    kept = make_folder(work / ("tiny" if facts["tiny"] else "full") / piece.name)
    for name in (f"{piece.name}.json", f"{piece.name}.jpg"):
        if (kept / name).exists() and not (out / name).exists():
            shutil.copyfile(kept / name, out / name)
    before = saved(out / f"{piece.name}.json")
    is_same = all(before.get(key) == facts[key] for key in ("source", "device", "tiny"))
    return Output(piece.name, out, kept, before if is_same else {}, facts)


def saved(path: Path) -> dict[str, Any]:
    """What a piece's file holds; nothing where there is none, or where it is no JSON."""
    try:
        return dict(read_json(path)) if path.exists() else {}
    except ConfigError:
        return {}


def own(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the piece itself found, of all that its file holds."""
    ours = {*FACTS, "threads", "tiny", "piece", "status", "seconds"}
    ours |= {"error", "traceback", "unfinished"}
    return {name: value for name, value in result.items() if name not in ours}


def status_of(path: Path) -> str:
    """How the piece of this file ended."""
    return str(saved(path).get("status", NOT_RUN))


def write_summary(out: Path, facts: Mapping[str, Any], states: Mapping[str, str]) -> None:
    """summary.md, of all pieces that have a file, and of those that were not run."""
    files = sorted(out.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    text = summary(facts, [found for path in files if (found := saved(path))], states)
    replace_file(out / "summary.md", lambda file: file.write(text.encode()))


def say(line: str) -> None:
    """A line for whoever watches."""
    print(f"[gpu] {line}", flush=True)


# --- what every result says -----------------------------------------------------------------------


def facts_of(device: Device) -> dict[str, Any]:
    """Device, driver, versions, source and command."""
    return {
        "device": device.name,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "tiny": device.tiny,
        "git": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"),
        "source": source_digest(),
        "command": shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]]),
        "date": now_utc(),
    }


def source_digest() -> str:
    """Of all Python files of the package, the tests and this command: a copy of the tree without
    its history has no git hash."""
    seen = hashlib.sha256()
    for folder in ("src", "benchmarks/gpu", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".toml"):
                seen.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return seen.hexdigest()[:16]


def _output(*command: str) -> str | None:
    """What a program says; None where there is no such program, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
