"""Images of several paths as one set, and the partner of each by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ganpress.data.sources import Found, Source
from ganpress.errors import ImagesError, did_you_mean

_NAMED = 8  # how many files a message lists before "and N more"


def joined(found: Sequence[Found]) -> dict[str, Source]:
    """Sources of all paths; with several paths each name starts with its path's own name."""
    if len(found) == 1:
        return found[0].sources
    whole: dict[str, Source] = {}
    for one in found:
        for name, source in one.sources.items():
            full = f"{one.root.stem}/{name}"
            if full in whole:  # .../a/train and .../b/train: name them by the whole path
                full = f"{one.root.as_posix()}/{name}"
            if full in whole:
                raise ImagesError(f"{one.root} is given twice. Give each folder or pack once.")
            whole[full] = source
    return whole


def matched(inputs: dict[str, Source], roots: Sequence[Path], targets: Found) -> list[Source]:
    """The target of each input, in order, matched by name without its ending."""
    first = roots[0] if len(roots) == 1 else Path("the images")
    mine, theirs = _by_stem(inputs, first), _by_stem(targets.sources, targets.root)
    lonely = [stem for stem in mine if stem not in theirs]
    spare = [stem for stem in theirs if stem not in mine]
    if lonely or spare:
        raise ImagesError(
            f"{first} has {len(mine)} images and {targets.root} {len(theirs)}, but they do not "
            f"pair by name.{_only(first, lonely, spare)}{_only(targets.root, spare, lonely)} "
            "Rename or remove what has no partner."
        )
    return [theirs[stem] for stem in mine]


def _only(where: Path, stems: Sequence[str], others: Sequence[str]) -> str:
    if not stems:
        return ""
    return f" Only in {where}: {listed(stems)}{did_you_mean(stems[0], others)}."


def _by_stem(sources: dict[str, Source], where: Path) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for name, source in sources.items():
        if (stem := stem_of(name)) in found:
            raise ImagesError(
                f"Two images in {where} are called '{stem}' (the ending does not count), so their "
                "pairs are not clear. Rename or remove one."
            )
        found[stem] = source
    return found


def stem_of(name: str) -> str:
    """A file's name without its ending, with its folders."""
    return str(PurePosixPath(name).with_suffix("")) if "." in name else name


def listed(names: Sequence[str], between: str = ", ") -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMED
    return between.join(names[:_NAMED]) + (f"{between}and {more} more" if more > 0 else "")
