"""Open folders, pairs and packs of images once, checking every file."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ganpress.data.decode import ImagesWarning
from ganpress.data.sources import Facts, Source, check, pixels_of, sources_at
from ganpress.errors import ConfigError, ImagesError, did_you_mean

Pixels: TypeAlias = NDArray[np.uint8]
"""(h, w, 3) RGB 0..255."""

_NAMED = 8  # how many files a message lists before "and N more"


class Images:
    """A checked, ordered set of images, each with a target of the same size if `paired`.

    Made by `open_images`. Holds where the pixels lie, not the pixels; can be pickled.
    """

    def __init__(
        self,
        names: Sequence[str],
        inputs: Sequence[tuple[Source, Facts]],
        targets: Sequence[tuple[Source, Facts]] | None = None,
        side_by_side: str | None = None,
    ) -> None:
        self.names = tuple(names)
        self._inputs = tuple(inputs)
        self._targets = None if targets is None else tuple(targets)
        self._side_by_side = side_by_side

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paired(self) -> bool:
        """True if every image has a target."""
        return self._targets is not None or self._side_by_side is not None

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each input image, in pixels, upright."""
        halves = 2 if self._side_by_side else 1
        return tuple((f.height, f.width // halves) for _, f in self._inputs)

    def read(self, index: int) -> tuple[Pixels, ...]:
        """(image,) or (image, target) at full size, each (h, w, 3) uint8 RGB 0..255.

        Raises ImagesError: the file has gone or changed since it was opened.
        """
        found = [self._inputs[index]] + ([self._targets[index]] if self._targets else [])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's; the file was judged when it was opened
            pair = tuple(pixels_of(source) for source, _ in found)
        for pixels, (source, facts) in zip(pair, found, strict=True):
            if pixels.shape[:2] != (facts.height, facts.width):
                raise ImagesError(
                    f"{source.where} has changed its size since it was opened. "
                    "Start again with a folder that does not change."
                )
        if self._side_by_side is None:
            return pair
        middle = pair[0].shape[1] // 2
        left, right = pair[0][:, :middle], pair[0][:, middle:]
        return (left, right) if self._side_by_side == "AB" else (right, left)

    def digest(self) -> str:
        """sha256 in hex over names, sizes in pixels and stored bytes: the data hash of a card."""
        seen = hashlib.sha256(f"{len(self)} {self._side_by_side}\n".encode())
        for column in (self._inputs, self._targets or ()):
            for name, (_, f) in zip(self.names, column, strict=bool(column)):
                seen.update(f"{name}\t{f.height}x{f.width}\t{f.stored_bytes}\n".encode())
        return seen.hexdigest()


def open_images(
    paths: Path | Sequence[Path],
    *,
    pairs: Path | None = None,
    side_by_side: str | None = None,
    strict: bool = False,
) -> Images:
    """Open images and decode each once, so that training never meets a bad file.

    Args:
        paths: each a folder (searched to the bottom; endings in `EXTENSIONS`) or an .npz pack
            (`jpeg` + `offsets`, or `images` NHWC uint8 RGB). Several are joined in order.
        pairs: a folder or pack of targets, paired with the images by name without its ending;
            a pair must agree in size.
        side_by_side: "AB" if each file holds the input on the left and the target on the
            right, "BA" for the other way round.
        strict: refuse a file that cannot be decoded, instead of leaving it (and its pair)
            out with one `ImagesWarning` that names it.
    Raises ImagesError: nothing there, no images, none that decodes, or pairs that do not
        match in number, name or size. ConfigError: settings that contradict each other.
    """
    _check_halves(side_by_side, pairs)
    roots = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(p) for p in paths]
    inputs = _joined(roots)
    targets = None if pairs is None else _matched(inputs, sources_at(Path(pairs)), roots, pairs)
    names, count = list(inputs), len(inputs)
    sources = [*inputs.values(), *(targets or ())]
    facts = _checked(sources)
    usable = {i: (sources[i], f) for i, f in enumerate(facts) if isinstance(f, Facts)}
    good = [i for i in range(count) if {i, i + (count if targets else 0)} <= usable.keys()]
    wrong = [f for f in facts if isinstance(f, ImagesError)]
    _report(wrong, left=len(good), total=count, strict=strict)
    chosen = [usable[i] for i in good]
    paired = [usable[i + count] for i in good] if targets else None
    _check_sizes(chosen, paired, side_by_side)
    return Images([names[i] for i in good], chosen, paired, side_by_side)


def _check_halves(side_by_side: str | None, pairs: Path | None) -> None:
    if side_by_side not in (None, "AB", "BA"):
        raise ConfigError(
            f"side_by_side is '{side_by_side}'; use 'AB' (input left, target right) or 'BA'."
        )
    if side_by_side is not None and pairs is not None:
        raise ConfigError("Targets come from `pairs` or from `side_by_side`: give only one.")


def _joined(roots: Sequence[Path]) -> dict[str, Source]:
    """Sources of all paths; with several paths each name starts with its path's own name."""
    if not roots:
        raise ImagesError("No folder or pack of images was given. Give at least one path.")
    if len(roots) == 1:
        return sources_at(roots[0])
    joined: dict[str, Source] = {}
    for root in roots:
        for name, source in sources_at(root).items():
            full = f"{root.stem}/{name}"
            if full in joined:  # .../a/train and .../b/train: tell them apart by the whole path
                full = f"{root.as_posix()}/{name}"
            if full in joined:
                raise ImagesError(f"{root} is given twice. Give each folder or pack once.")
            joined[full] = source
    return joined


def _matched(
    inputs: dict[str, Source], targets: dict[str, Source], roots: Sequence[Path], pairs: Path
) -> list[Source]:
    """The target of each input, in order, matched by name without its ending."""
    first = roots[0] if len(roots) == 1 else Path("the images")
    mine, theirs = _by_stem(inputs, first), _by_stem(targets, pairs)
    lonely = [stem for stem in mine if stem not in theirs]
    spare = [stem for stem in theirs if stem not in mine]
    if lonely or spare:
        raise ImagesError(
            f"{first} has {len(mine)} images and {pairs} {len(theirs)}, but they do not pair by "
            f"name.{_only(first, lonely, spare)}{_only(pairs, spare, lonely)} Rename or remove "
            "what has no partner."
        )
    return [theirs[stem] for stem in mine]


def _only(where: Path, stems: Sequence[str], others: Sequence[str]) -> str:
    if not stems:
        return ""
    return f" Only in {where}: {_listed(stems)}{did_you_mean(stems[0], others)}."


def _by_stem(sources: dict[str, Source], where: Path) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for name, source in sources.items():
        stem = str(PurePosixPath(name).with_suffix("")) if "." in name else name
        if stem in found:
            raise ImagesError(
                f"Two images in {where} are called '{stem}' (the ending does not count), so their "
                "pairs are not clear. Rename or remove one."
            )
        found[stem] = source
    return found


def _checked(sources: Sequence[Source]) -> list[Facts | ImagesError]:
    """Decode every source once, in threads: Pillow lets go of the interpreter while it decodes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # here, once: the filters are not safe inside threads
        with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
            return list(pool.map(check, sources))


def _report(wrong: Sequence[ImagesError], *, left: int, total: int, strict: bool) -> None:
    if not wrong:
        return
    reasons = _listed([str(error).rstrip(".") for error in wrong], "; ")
    if strict or not left:
        rest = "" if left else " Nothing is left to use."
        raise ImagesError(f"Unusable images: {reasons}.{rest} Repair or remove them.")
    text = f"Left out {total - left} of {total} images: {reasons}."
    warnings.warn(text, ImagesWarning, stacklevel=3)


def _check_sizes(
    inputs: Sequence[tuple[Source, Facts]],
    targets: Sequence[tuple[Source, Facts]] | None,
    side_by_side: str | None,
) -> None:
    if targets is not None:
        for (source, a), (other, b) in zip(inputs, targets, strict=True):
            if (a.height, a.width) != (b.height, b.width):
                raise ImagesError(
                    f"The pair {source.where} ({a.width}x{a.height}) and {other.where} "
                    f"({b.width}x{b.height}) differ in size. Resize one to the other."
                )
    if side_by_side is not None:
        for source, a in inputs:
            if a.width % 2:
                raise ImagesError(
                    f"{source.where} is {a.width} pixels wide, so it has no two equal halves. "
                    "Side-by-side images need an even width."
                )


def _listed(names: Sequence[str], between: str = ", ") -> str:
    more = len(names) - _NAMED
    return between.join(names[:_NAMED]) + (f"{between}and {more} more" if more > 0 else "")
