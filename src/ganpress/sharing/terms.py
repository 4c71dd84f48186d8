"""On whose terms a model is: what its files say of the data that it was trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.losses.weights import zoo_path

UNKNOWN, OTHER = "unknown", "other"
_RESTRICTS = re.compile(r"research|no licen[cs]e|rights|owner|non-?commercial|not commercial|terms")
_CREATIVE_COMMONS = re.compile(r"\bcc[ -](by(?:-nc)?(?:-sa|-nd)?)[ -](\d\.\d)")
_NAMED = {
    r"\bcc0(?:[ -]1\.0)?\b": "cc0-1.0",
    r"\bapache[ -]2\.0\b": "apache-2.0",
    r"\bmit\b(?! licen[cs]es? of)": "mit",
    r"\bbsd[ -]3-clause\b": "bsd-3-clause",
    r"\bbsd[ -]2-clause\b": "bsd-2-clause",
}
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Given:
    """What the user says of the terms; it stands before what the files say.

    Attributes:
        licence: an identifier of the hub's list, such as "cc-by-sa-4.0", or "other".
        terms: a sentence on the data and whom to name.
        datasets: names of data sets.
    """

    licence: str | None = None
    terms: str | None = None
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Terms:
    """The terms of a model and of its data.

    Attributes:
        licence: identifier for the head of a card: `UNKNOWN` where nothing is known, `OTHER` where
            what is known is no licence of the hub's list, or more than one.
        lines: what is known, a sentence for each source.
        datasets: names of the data sets, where known.
        unknown: the data of which nothing is known, in words.
    """

    licence: str
    lines: tuple[str, ...]
    datasets: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def advice(self) -> str:
        """What to set where something is not known; "" where all is known."""
        if not self.unknown:
            return ""
        return (
            f"The terms of {' and of '.join(self.unknown)} are not known. Say them: --licence "
            "cc-by-4.0 (an identifier of the hub's list, or 'other'), --terms 'whose the data are, "
            "and on what terms', and --dataset NAME."
        )


def terms_of(
    provenance: Mapping[str, Any],
    *,
    beside: Mapping[str, Any] | None = None,
    run_card: Mapping[str, Any] | None = None,
    given: Given | None = None,
) -> Terms:
    """The terms that the files say, or those given.

    Read are: the licence that the model's provenance states (of imported weights), that of the
    model it was trained on from, a card beside the model's file (as those of the zoo), and the
    cards of the zoo for data with the same hash.

    Args:
        beside: the JSON card beside the model's file.
        run_card: card.json of the run that made it: the pictures it was compressed on.
    Raises: ConfigError for a licence that is no identifier.
    """
    given = given or Given()
    if given.licence is not None and not _IDENTIFIER.fullmatch(given.licence):
        raise ConfigError(
            f"--licence {given.licence}: give an identifier of the hub's list, in lower case, such "
            "as apache-2.0, cc-by-4.0 or other."
        )
    if given.terms is not None:
        named = given.licence or licence_in(given.terms)
        return Terms(named, (given.terms,), given.datasets, ())
    found = dict.fromkeys(_stated(provenance, beside or {}))
    names, unknown = list(given.datasets), []
    for what, digest in _hashes(provenance, run_card or {}).items():
        if (known := _zoo_data().get(digest)) is not None:
            found[f"{known['what']}: {known['terms']}"] = None
            names += [known["name"]]
        elif not (found and what == _TRAINED):
            unknown.append(f"{what} (data hash {digest[:12]})")
    if not found and not unknown:
        unknown.append("the pictures that it was trained on")
    licences = {licence_in(line) for line in found} or {UNKNOWN}
    licence = given.licence or (licences.pop() if len(licences) == 1 else OTHER)
    return Terms(licence, tuple(found), tuple(dict.fromkeys(names)), tuple(unknown))


def licence_in(text: str) -> str:
    """The identifier of the licence that a sentence states: "CC BY-SA 4.0" -> "cc-by-sa-4.0".

    `OTHER` where it states none, several, or something besides that restricts use.
    """
    lower = text.lower()
    found = {f"cc-{kind}-{version}" for kind, version in _CREATIVE_COMMONS.findall(lower)}
    found |= {name for pattern, name in _NAMED.items() if re.search(pattern, lower)}
    return found.pop() if len(found) == 1 and not _RESTRICTS.search(lower) else OTHER


_TRAINED = "the pictures that it was trained on"
_COMPRESSED = "the pictures that it was compressed on"


def _stated(provenance: Mapping[str, Any], beside: Mapping[str, Any]) -> Iterator[str]:
    data = beside.get("data")
    if isinstance(data, Mapping) and data.get("terms"):
        yield f"{data.get('what') or data.get('name')}: {data['terms']}"
    for licence in (beside.get("licence"), provenance.get("licence")):
        if isinstance(licence, str):
            yield licence
    start = provenance.get("start")
    if isinstance(start, Mapping) and isinstance(start.get("provenance"), Mapping):
        yield from _stated(start["provenance"], {})


def _hashes(provenance: Mapping[str, Any], run_card: Mapping[str, Any]) -> dict[str, str]:
    """What the pictures were for -> their hash; once where both are the same."""
    own, run = provenance.get("data_hash"), run_card.get("data_hash")
    found = {_TRAINED: own} if isinstance(own, str) else {}
    if isinstance(run, str) and run not in (own, "none"):
        found[_COMPRESSED] = run
    return found


def _zoo_data() -> dict[str, Mapping[str, str]]:
    """Hash of a data set -> its name, what it is and its terms, as the cards of the zoo say."""
    found = {}
    for path in _zoo().glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8")).get("data")
        if isinstance(data, Mapping) and {"data_hash", "name", "what", "terms"} <= data.keys():
            found[str(data["data_hash"])] = data
    return found


def _zoo() -> Path:
    return zoo_path("demo_teacher.safetensors").parent
