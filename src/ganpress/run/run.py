"""A run folder: its settings, card and stages, kept by one process at a time."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganpress.errors import ConfigError
from ganpress.run import distributed
from ganpress.run.card import check_card, check_config, now_utc
from ganpress.run.extend import HOW, extend_run, raised
from ganpress.run.files import (
    check_name,
    clear_unfinished,
    make_folder,
    read_json,
    write_json,
)
from ganpress.run.locks import Lock
from ganpress.run.stage import Stage

__all__ = ["Run", "Stage"]


class Run:
    """A run folder: config.json, card.json, and one folder per stage.

    Opening an existing folder resumes it, and is refused if its config, its seed or the
    `data_hash` of its card differ from those given now. Every file in it is whole: it is
    written under a temporary name, synced, and renamed. One process at a time may hold it; under
    torchrun every process opens it, process 0 writes it, and each keeps its own state.

    Args:
        root: the folder; made if missing.
        seed: everything random in the run is a function of it, the stage and the step.
        config: the resolved settings, JSON values only; None leaves the folder's unchecked.
        card: facts to add to the card, such as device and data_hash; they win over ours.
        save_every_s: seconds between two saved states of a loop.
        log_every: steps between two lines of a log.
        quiet: no progress on stderr.
        longer: settings that can be raised in a finished run -> the stage whose steps they count.
        extend: raise them where they are larger now than in the folder (`extend_run`).
        usual: the defaults of ``config``: a setting that the folder does not know yet had its own.
    Raises: ConfigError, DiskFull.
    """

    def __init__(
        self,
        root: Path,
        *,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
        card: Mapping[str, Any] | None = None,
        save_every_s: float = 30.0,
        log_every: int = 10,
        quiet: bool = False,
        longer: Mapping[str, str] | None = None,
        extend: bool = False,
        usual: Mapping[str, Any] | None = None,
    ) -> None:
        if log_every < 1 or not save_every_s >= 0:
            raise ConfigError(
                f"log_every is {log_every} and save_every_s is {save_every_s}: "
                "give at least 1 step and 0 seconds."
            )
        self.root, self.seed = Path(root), seed
        self.save_every_s, self.log_every, self.quiet = save_every_s, log_every, quiet
        self.longer, self._usual = dict(longer or {}), usual
        distributed.first(lambda: self._open(config, card or {}, extend))

    def _open(
        self, config: Mapping[str, Any] | None, card: Mapping[str, Any], extend: bool
    ) -> None:
        path = self.root / "config.json"
        if extend and not path.exists():
            raise ConfigError(
                f"There is no run in {self.root} whose steps could be extended: leave --extend out."
            )
        self._lock = Lock(make_folder(self.root) / "run.lock")
        clear_unfinished(self.root)
        if config is not None:
            if extend:
                check_card(self.root, seed=self.seed, card=card)  # before anything is changed
                extend_run(self.root, config, self.longer, self._usual)
            more = raised(read_json(path), config, self.longer) if path.exists() else {}
            check_config(self.root, config, f" ({HOW})" if more else "", self._usual)
        check_card(self.root, seed=self.seed, card=card)

    def stage(self, name: str) -> Stage:
        """The stage `name`, in its own folder; made if missing. Raises: ConfigError, DiskFull."""
        return Stage(self, name)

    def done(self, name: str) -> bool:
        """Whether the stage `name` has finished."""
        return bool(distributed.agree(int((self.root / name / "done.json").exists())))

    def seed_all(self, salt: str = "") -> None:
        """Seed torch (every device), numpy and random from (seed, salt).

        Call it with a name of its own before anything is initialised at random.
        """
        digest = hashlib.sha256(f"{self.seed}/{salt}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        np.random.seed(np.frombuffer(digest[8:24], dtype="<u4"))
        random.seed(digest[24:])

    def write_json(self, name: str, obj: object) -> Path:
        """Write root/`name` as JSON, atomically; return its path. Raises: ConfigError, DiskFull."""
        check_name(name, "The file")
        if distributed.rank() == 0:
            write_json(self.root / name, obj)
        return self.root / name

    def finish(self, **facts: Any) -> None:
        """Write root/done.json: the whole run has finished. `facts` are JSON values."""
        self.write_json("done.json", {"finished": now_utc(), **facts})
