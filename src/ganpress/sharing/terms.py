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
    """What the user says of the terms: of what the files do not say, and before what they do.

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
    """The terms that the files say, with those given.

    Read are: the licence that the model's provenance states (of imported weights), a card beside
    the model's file (as those of the zoo), and the cards of the zoo for data with the same hash;
    the same of the model that it was trained on from, and so on back. Terms that are known stay on
    the card whatever is given: a student has those of its teacher.

    Args:
        beside: the JSON card beside the model's file.
        run_card: card.json of the run that made it: the pictures it was compressed on.
        given: terms are of all that the files do not know.
    Raises: ConfigError for a licence that is no identifier.
    """
    given = given or Given()
    if given.licence is not None and not _IDENTIFIER.fullmatch(given.licence):
        raise ConfigError(
            f"--licence {given.licence}: give an identifier of the hub's list, in lower case, such "
            "as apache-2.0, cc-by-4.0 or other."
        )
    lines, names, unknown = [given.terms], list(given.datasets), []
    zoo, seen = _zoo_data(), set()
    for stated, pictures in _sources(provenance, beside or {}, run_card or {}):
        lines += stated
        for what, digest in pictures:
            if (known := zoo.get(digest)) is not None:
                lines.append(f"{known['what']}: {known['terms']}")
                names.append(known["name"])
            elif not stated and digest not in seen:
                unknown.append(f"{what} (data hash {digest[:12]})")
            seen.add(digest)
    found = tuple(dict.fromkeys(line for line in lines if line is not None))
    if not found and not unknown:
        unknown.append(_TRAINED)
    licences = {licence_in(line) for line in found} or {UNKNOWN}
    licence = given.licence or (licences.pop() if len(licences) == 1 else OTHER)
    unsaid = tuple(unknown) if given.terms is None else ()
    return Terms(licence, found, tuple(dict.fromkeys(names)), unsaid)


def licence_in(text: str) -> str:
    """The identifier of the licence that a sentence states: "CC BY-SA 4.0" -> "cc-by-sa-4.0".

    `OTHER` where it states none, several, or something besides that restricts use.
    """
    lower = text.lower()
    found = {f"cc-{kind}-{version}" for kind, version in _CREATIVE_COMMONS.findall(lower)}
    found |= {name for pattern, name in _NAMED.items() if re.search(pattern, lower)}
    return found.pop() if len(found) == 1 and not _RESTRICTS.search(lower) else OTHER


_TRAINED = "the pictures that it was trained on"
_FIRST_TRAINED = "the pictures that the model was trained on from which it began"
_COMPRESSED = "the pictures that it was compressed on"
_REALS = "the real pictures that it was compressed with"
_HASHES = ("data_hash", "other_hash")
"""Of a model's pictures, and of those of the other domain."""

Pictures = list[tuple[str, str]]
"""What pictures were for, and their hash."""


def _sources(
    provenance: Mapping[str, Any], beside: Mapping[str, Any], run_card: Mapping[str, Any]
) -> Iterator[tuple[list[str], Pictures]]:
    """What made a model, the last first: the terms that are stated, and the pictures."""
    compressed = {"data_hash": _COMPRESSED, "reals_hash": _REALS}
    own = {provenance.get(key) for key in _HASHES}
    yield [], [(what, d) for what, d in _hashes(run_card, compressed) if d not in own]
    yield _stated(provenance, beside), _hashes(provenance, dict.fromkeys(_HASHES, _TRAINED))
    start = provenance.get("start")
    while isinstance(start, Mapping) and isinstance(first := start.get("provenance"), Mapping):
        yield _stated(first, {}), _hashes(first, dict.fromkeys(_HASHES, _FIRST_TRAINED))
        start = first.get("start")


def _stated(provenance: Mapping[str, Any], beside: Mapping[str, Any]) -> list[str]:
    data = beside.get("data")
    of_data = isinstance(data, Mapping) and data.get("terms")
    lines = [f"{data.get('what') or data.get('name')}: {of_data}"] if data and of_data else []
    licences = (beside.get("licence"), provenance.get("licence"))
    return lines + [licence for licence in licences if isinstance(licence, str)]


def _hashes(facts: Mapping[str, Any], keys: Mapping[str, str]) -> Pictures:
    found = [(what, facts.get(key)) for key, what in keys.items()]
    return [
        (what, digest) for what, digest in found if isinstance(digest, str) and digest != "none"
    ]


def _zoo_data() -> dict[str, Mapping[str, str]]:
    """Hash of a data set -> its name, what it is and its terms, as the cards of the zoo say."""
    found: dict[str, Mapping[str, str]] = {}
    for path in _zoo().glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8")).get("data")
        if isinstance(data, Mapping) and {"data_hash", "name", "what", "terms"} <= data.keys():
            found |= {str(data[key]): data for key in _HASHES if key in data}
    return found


def _zoo() -> Path:
    return zoo_path("demo_teacher.safetensors").parent
