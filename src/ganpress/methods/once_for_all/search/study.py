"""The search itself: width sets are proposed, scored by one or many workers, and compared."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ganpress.errors import (
    ConfigError,
    DiskFull,
    Elsewhere,
    InfeasibleTarget,
    Interrupted,
    SearchFailed,
    did_you_mean,
)
from ganpress.methods.once_for_all.search.evolution import finished, planned, propose
from ganpress.methods.once_for_all.search.found import Found, Row, best_row, pareto, write_trials
from ganpress.methods.once_for_all.search.ledger import Candidate, Ledger
from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.methods.once_for_all.search.space import Choice, Space
from ganpress.methods.once_for_all.search.storage import Storage, default_url
from ganpress.methods.once_for_all.search.task import CostOf, Evaluate, ProgressOf, Task
from ganpress.run.files import as_json, make_folder, read_json, write_json
from ganpress.run.progress import Stopper, say

BRUTE_FORCE_AT_MOST = 1_000_000
HOPELESS = 10
"""Width sets that fail, with none scored, after which a search gives up."""
POLL_S = 0.5
PENDING = "pending.json"


def search(
    space: Space,
    evaluate: Evaluate,
    cost: CostOf,
    *,
    budget: Mapping[str, float],
    settings: SearchSettings,
    folder: Path,
    identity: Mapping[str, Any],
    seed: int = 0,
    quality: str = "quality",
    maximise: bool = False,
    quiet: bool = False,
    progress: ProgressOf | None = None,
) -> Found:
    """Find the best width set within a budget, with every other process that calls this with the
    same study; go on where a search that was stopped or killed ended.

    With one worker the sets are a function of the arguments, whenever and however often it is
    killed. All workers return the same result, once the last has finished.

    Args:
        evaluate: called with the widths of each set. A set for which it raises, or gives no finite
            ``quality``, fails, and the search goes on.
        cost: must not rise where a width falls.
        budget: cost -> at most; {}: everything is within.
        folder: of the stage; gets study.db, unless ``settings.storage`` names another, and
            trials.json.
        identity: what figures depend on, JSON values: the supernet, the images. A study of another
            one, another space or another ``quality`` is refused.
        quality: the figure that is searched by. maximise: whether more of it is better.
    Raises: InfeasibleTarget for a budget below the smallest set; ConfigError; MissingExtra;
        SearchFailed where the storage is gone for too long, or no set can be scored; Interrupted by
        SIGINT or SIGTERM after the set that is being scored.
    """
    this = Task(
        space, evaluate, cost, dict(budget), settings, seed, quality, maximise,
        make_folder(Path(folder)), partial(say, quiet=quiet), progress, identity,
    )  # fmt: skip
    _check(this)
    storage = Storage(
        settings.storage or default_url(this.folder),
        wait_s=60 * settings.storage_wait_minutes,
        say=this.say,
    )
    directions = ["maximize" if maximise else "minimize", *(["minimize"] if this.against else [])]
    with closing(Ledger(storage, settings.study, space, directions, this.identity)) as ledger:
        candidates = ledger.candidates()
        if not any(c.state == "scored" for c in candidates.values()):
            this.retried = {name for name, c in candidates.items() if c.state == "failed"}
        with Stopper() as stopper:
            storage.signal = lambda: stopper.signal
            while _one(this, ledger):
                if stopper.signal:
                    raise Interrupted(
                        "The search was stopped; what was scored is kept. Run the same command "
                        "again to go on from it.",
                        exit_code=128 + stopper.signal,
                    )
        found = _found(this, ledger.candidates())
    facts = {"quality": quality, "maximise": maximise, "budget": this.budget, "seed": seed}
    write_trials(this.folder, space, found, {**facts, "settings": settings.model_dump()})
    return found


def _check(this: Task) -> None:
    """Refuse what cannot end well, before anything is scored."""
    smallest = this.space.smallest
    costs = this.costs(smallest)
    for name in (*this.budget, *([this.against] if this.against else [])):
        if name not in costs:
            raise ConfigError(
                f"There is no cost '{name}'{did_you_mean(name, costs)}. Costs: {', '.join(costs)}."
            )
    over = {name: most for name, most in this.budget.items() if costs[name] > most}
    if over:
        said = " and ".join(f"{most:.6g} {name}" for name, most in over.items())
        needs = " and ".join(f"{costs[name]:.6g} {name}" for name in over)
        raise InfeasibleTarget(
            f"The budget allows {said}, but the smallest width set of the space, "
            f"{this.space.name(smallest)}, costs {needs}. Allow at least that, or take a space "
            "with smaller numbers (search.space, search.ratios, min_channels)."
        )
    if this.how.kind == "brute-force" and this.space.size > BRUTE_FORCE_AT_MOST:
        raise ConfigError(
            f"The space has {this.space.size:,} width sets, too many to score each. Use "
            "--set search.kind=evolution, or a smaller space."
        )


def _one(this: Task, ledger: Ledger) -> bool:
    """Score the next width set, or wait for other workers; false where all is done."""
    ledger.check_identity()
    candidates = ledger.candidates()
    _show(this, candidates)
    history = this.history(candidates)
    choice = next((c.choice for c in candidates.values() if _again(this, c)), None)
    if choice is None:
        _give_up_if_hopeless(this, candidates)
        if not finished(history, this.how):
            choice = propose(this.space, history, this.affords, this.how, this.seed)
    if choice is None:
        if any(c.state == "running" for c in candidates.values()):
            time.sleep(POLL_S)
            return True
        return False
    trial = ledger.take_up(choice, {"cost": this.costs(choice)})
    if trial is None:
        return True
    this.retried.discard(this.space.name(choice))
    if _surplus(this, ledger.latest, choice):
        ledger.withdraw(trial)
        return True
    _score(this, ledger, trial, choice)
    return True


def _show(this: Task, candidates: Mapping[str, Candidate]) -> None:
    """Call ``progress`` with what was scored since the last call."""
    rows = _rows(this, candidates) if this.progress is not None else []
    if this.progress is not None and len(rows) > this.shown:
        best = best_row(rows, maximise=this.maximise)
        this.progress(len(rows), planned(this.how), best.figures if best else {})
        this.shown = len(rows)


def _again(this: Task, candidate: Candidate) -> bool:
    """Whether a set is to be taken up again: its worker died, or the last run failed of something
    that all sets failed of."""
    return this.affords(candidate.choice) and (
        candidate.state == "lost" or candidate.name in this.retried
    )


def _surplus(this: Task, latest: Mapping[str, Candidate], choice: Choice) -> bool:
    """Whether other workers took up the last sets while this one was proposed."""
    order = [scored.choice for scored in this.history(latest)]
    most = planned(this.how)
    return most is not None and choice in order[most:]


def _score(this: Task, ledger: Ledger, trial: int, choice: Choice) -> None:
    """Score one set, and write what came out; a set that fails is said in a line."""
    name = this.space.name(choice)
    try:
        with ledger.beating(trial):
            figures, error = _figures(this, name, choice)
    except BaseException:
        ledger.lose(trial)
        raise
    if error is not None:
        this.say(f"Width set {name} cannot be scored: {error}")
        ledger.fail(trial, error)
        return
    try:
        if not ledger.score(trial, figures, this.values(choice, figures)):
            this.say(
                f"Width set {name} was taken up by another worker meanwhile; its result stays."
            )
    except (SearchFailed, Interrupted):
        kept = {**_pending(this), name: figures}
        write_json(this.folder / PENDING, {"identity": this.identity, "figures": kept})
        raise


def _figures(this: Task, name: str, choice: Choice) -> tuple[dict[str, float], str | None]:
    """A set's figures, or why there are none; those that a storage which was gone did not take in
    are not worked out again."""
    if name in (pending := _pending(this)):
        return pending[name], None
    try:
        figures = {n: float(v) for n, v in this.evaluate(this.space.widths(choice)).items()}
    except (Interrupted, DiskFull, Elsewhere):
        raise
    except Exception as error:
        return {}, f"{type(error).__name__}: {str(error).strip() or 'without a message'}"[:500]
    if this.quality not in figures:
        names = ", ".join(figures) or "nothing"
        return (
            {},
            f"the evaluation gave no '{this.quality}'{did_you_mean(this.quality, figures)}, "
            f"but {names}",
        )
    if not math.isfinite(figures[this.quality]):
        return {}, f"{this.quality} is {figures[this.quality]}"
    return figures, None


def _pending(this: Task) -> dict[str, dict[str, float]]:
    """Figures that a storage which was gone did not take in, of this very search."""
    path = this.folder / PENDING
    kept = read_json(path) if path.exists() else {}
    return dict(kept["figures"]) if kept.get("identity") == as_json(this.identity) else {}


def _give_up_if_hopeless(this: Task, candidates: Mapping[str, Candidate]) -> None:
    failed = [c for c in candidates.values() if c.state == "failed"]
    most = min(HOPELESS, planned(this.how) or HOPELESS)
    if len(failed) >= most and not any(c.state == "scored" for c in candidates.values()):
        raise _hopeless(failed)


def _hopeless(failed: list[Candidate]) -> SearchFailed:
    return SearchFailed(
        f"None of {len(failed)} width sets could be scored; the last, {failed[-1].name}: "
        f"{failed[-1].error}. Mend that, and run the same command again: they are then tried again."
    )


def _rows(this: Task, candidates: Mapping[str, Candidate]) -> list[Row]:
    rows = [
        Row(
            name=c.name,
            widths=this.space.widths(c.choice),
            cost=this.costs(c.choice),
            quality=c.figures.get(this.quality),
            figures=c.figures,
            within=this.affords(c.choice),
            error=c.error if c.state == "failed" else None,
        )
        for c in candidates.values()
        if c.state in ("scored", "failed")
    ]
    costs = this.costs(this.space.smallest)
    against = this.against or next(iter(this.budget), next(iter(costs)))
    for row in pareto(rows, against, maximise=this.maximise):
        row.front = True
    return rows


def _found(this: Task, candidates: Mapping[str, Candidate]) -> Found:
    """The result. Raises: SearchFailed where no set within the budget was scored."""
    rows = _rows(this, candidates)
    best = best_row(rows, maximise=this.maximise)
    if best is None:
        raise _hopeless([c for c in candidates.values() if c.state == "failed"])
    against = this.against or next(iter(this.budget), next(iter(best.cost)))
    return Found(
        choice=this.space.parse(best.name),
        name=best.name,
        widths=best.widths,
        figures=best.figures,
        cost=best.cost,
        rows=rows,
        front=sorted((row for row in rows if row.front), key=lambda row: row.cost[against]),
    )
