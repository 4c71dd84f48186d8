"""The study of a search: which width sets were taken up, by whom, and what they scored.

A trial is a width set that a worker took up. It is made whole in one transaction, so that of two
workers that take up the same set the one with the smaller number has it. A trial whose worker died
is marked lost, and its set is taken up again, as a new trial. So each set has one result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganpress.errors import ConfigError
from ganpress.methods.once_for_all.search.owner import Beating, Beats, Owner
from ganpress.methods.once_for_all.search.space import Choice, Space
from ganpress.methods.once_for_all.search.storage import Storage

BEAT_S = 10.0
"""Seconds between two signs of life of a worker."""
SILENCE_S = 90.0
"""Seconds without one after which a worker of another machine is taken for dead."""


@dataclass
class Candidate:
    """A width set that was taken up.

    Attributes:
        state: "running", "scored", "failed" (it cannot be scored) or "lost" (its worker died).
        values: the objectives, as the study holds them.
        figures: what the evaluation gave, by name.
        error: why it failed.
    """

    name: str
    choice: Choice
    state: str = "running"
    values: tuple[float, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    error: str | None = None


class Ledger:
    """The study of a name in a storage, made if missing.

    Args:
        directions: of each objective, "minimize" or "maximize".
        identity: what the results depend on; a study of another is refused.
    Raises: ConfigError where the study is of another identity.
    """

    def __init__(
        self,
        storage: Storage,
        study: str,
        space: Space,
        directions: list[str],
        identity: Mapping[str, Any],
    ) -> None:
        self.storage, self.study, self.space = storage, study, space
        self.identity = json.loads(json.dumps(identity))
        self.owner, self.beats = Owner(), Beats(SILENCE_S)
        self._held: set[int] = set()
        self.latest: dict[str, Candidate] = {}
        """What was read last."""
        self._outages = 0
        try:
            self._id = self._open(directions)
            self.check_identity()
        except BaseException:
            self.owner.close(forget=True)
            raise

    def _open(self, directions: list[str]) -> int:
        from optuna.exceptions import DuplicatedStudyError
        from optuna.study import StudyDirection

        wanted = [StudyDirection[direction.upper()] for direction in directions]
        try:
            study_id: int = self.storage(lambda s: s.create_new_study(wanted, self.study))
        except DuplicatedStudyError:
            study_id = self.storage(lambda s: s.get_study_id_from_name(self.study))
        attributes = self.storage(lambda s: s.get_study_user_attrs(study_id))
        if "identity" not in attributes:  # of two that start at once, each writes, all read back
            self.storage(lambda s: s.set_study_user_attr(study_id, "identity", self.identity))
        return study_id

    def check_identity(self) -> None:
        """Refuse a study that is of another search. ConfigError."""
        held = self.storage(lambda s: s.get_study_user_attrs(self._id)).get("identity", {})
        wrong = [k for k in {**held, **self.identity} if held.get(k) != self.identity.get(k)]
        if wrong:
            raise ConfigError(
                f"The storage {self.storage.name} holds a study '{self.study}' of another search: "
                f"its {', its '.join(wrong)} differ{'s' if len(wrong) == 1 else ''} from this "
                f"one's. Give this search a name of its own (--set search.study={self.study}-2) or "
                "another search.storage."
            )

    def candidates(self) -> dict[str, Candidate]:
        """Every width set that was taken up, by name, in the order of that.

        Trials of workers that have died meanwhile are marked lost.
        """
        return self._read(self._trials())

    def _read(self, trials: list[Any]) -> dict[str, Candidate]:
        found: dict[str, Candidate] = {}
        for trial in trials:
            state = self._state(trial)
            if state is None:
                continue
            name = trial.user_attrs["name"]
            candidate = found.setdefault(name, Candidate(name, self.space.parse(name)))
            if candidate.state == "scored":
                continue
            candidate.state = state
            candidate.error = trial.user_attrs.get("error")
            if state == "scored":
                candidate.values = tuple(trial.values)
                candidate.figures = dict(trial.user_attrs["figures"])
        self.latest = found
        return found

    def take_up(self, choice: Choice, facts: Mapping[str, Any]) -> int | None:
        """Begin a trial of this width set: its id; None where another worker has it.

        Args: facts: JSON values that are kept with it.
        """
        from optuna.distributions import CategoricalDistribution
        from optuna.trial import TrialState, create_trial

        slots, name = self.space.slots, self.space.name(choice)
        template = create_trial(
            state=TrialState.RUNNING,
            params={slot.name: n for slot, n in zip(slots, choice, strict=True)},
            distributions={slot.name: CategoricalDistribution(slot.numbers) for slot in slots},
            user_attrs={"name": name, "beat": 0, "owner": self.owner.card, **facts},
        )
        trial_id: int = self.storage(lambda s: s.create_new_trial(self._id, template))
        trials = self._trials()
        self._read(trials)
        for trial in trials:
            if trial._trial_id == trial_id:
                self._held.add(trial_id)
                return trial_id
            if trial.user_attrs.get("name") == name and self._state(trial) in ("running", "scored"):
                break
        self.withdraw(trial_id)
        return None

    def withdraw(self, trial_id: int) -> None:
        """End a trial as if it had never been begun."""
        self._end(trial_id, "PRUNED")

    def lose(self, trial_id: int) -> None:
        """End a trial so that its width set is taken up again; one try, for a worker that ends."""
        from optuna.trial import TrialState

        self.storage.try_once(lambda s: s.set_trial_user_attr(trial_id, "lost", True))
        if self.storage.try_once(lambda s: s.set_trial_state_values(trial_id, TrialState.FAIL)):
            self._held.discard(trial_id)

    def score(self, trial_id: int, figures: Mapping[str, float], values: list[float]) -> bool:
        """End a trial with its result; false where it was taken for dead and is another's."""
        return self._end(trial_id, "COMPLETE", {"figures": dict(figures)}, values)

    def fail(self, trial_id: int, error: str) -> bool:
        """End a trial of a width set that cannot be scored."""
        return self._end(trial_id, "FAIL", {"error": error})

    def beating(self, trial_id: int) -> Beating:
        """Within, this worker gives signs of life for its trial."""

        def beat(count: int) -> None:
            try:
                self.storage.try_once(lambda s: s.set_trial_user_attr(trial_id, "beat", count))
            except (KeyError, RuntimeError):
                return  # another worker ended the trial

        return Beating(beat, BEAT_S)

    def close(self) -> None:
        """Let go of the storage and of the sign of life; it stays behind as that of a worker that
        has ended without a word to the storage."""
        self.storage.close()
        self.owner.close(forget=not self._held)

    def _trials(self) -> list[Any]:
        """All trials, by number."""
        found = self.storage(lambda s: s.get_all_trials(self._id, deepcopy=False))
        if self.storage.outages != self._outages:
            self._outages = self.storage.outages
            self.beats.forget()
        return sorted(found, key=lambda trial: trial.number)

    def _state(self, trial: Any) -> str | None:
        """A trial's state in the words of `Candidate`; None of one that was withdrawn."""
        attributes, state = trial.user_attrs, trial.state.name
        if state == "PRUNED" or "name" not in attributes:
            return None
        if state == "COMPLETE":
            return "scored"
        if state == "FAIL":
            return "failed" if "error" in attributes else "lost"
        if self.owner.ended(attributes.get("owner", {})) or (
            attributes.get("owner") != self.owner.card
            and self.beats.silent(trial.number, attributes.get("beat", 0))
        ):
            self._end(trial._trial_id, "FAIL", {"lost": True})
            return "lost"
        return "running"

    def _end(
        self,
        trial_id: int,
        state: str,
        attributes: Mapping[str, Any] | None = None,
        values: list[float] | None = None,
    ) -> bool:
        """Bring a running trial into a final state; false where it has one already.

        Where the storage went away after it had taken the state in, the second try finds it there.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            for key, value in (attributes or {}).items():
                self.storage(_attribute(trial_id, key, value))
            self.storage(lambda s: s.set_trial_state_values(trial_id, TrialState[state], values))
        except UpdateFinishedTrialError:
            return bool(self.storage(lambda s: s.get_trial(trial_id)).state.name == state)
        self._held.discard(trial_id)
        return True


def _attribute(trial_id: int, key: str, value: Any) -> Callable[[Any], None]:
    return lambda storage: storage.set_trial_user_attr(trial_id, key, value)
