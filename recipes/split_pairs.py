"""Hold every eleventh pair of a folder of photos and label maps back for evaluation.

Command:  python -m recipes.split_pairs $GANPRESS_DATA/facades --to data/facades
Result:   DIR/train/{photo,label} and DIR/test/{photo,label}, links to the files that were there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

EVERY = 11


def main() -> None:
    """Read the options and split."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    a = parser.parse_args()
    split(a.source, a.to)


def split(source: Path, folder: Path) -> None:
    """Link each file of ``source``/photo and ``source``/label into its half in ``folder``."""
    stems = sorted(path.stem for path in (source / "photo").iterdir())
    for kind in ("photo", "label"):
        for file in sorted((source / kind).iterdir()):
            half = "test" if stems.index(file.stem) % EVERY == 0 else "train"
            to = folder / half / kind / file.name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.symlink_to(file.resolve())


if __name__ == "__main__":
    main()
