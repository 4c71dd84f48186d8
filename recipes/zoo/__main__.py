"""Put a finished training or compression into the zoo: its teacher, or its student, in half
precision, a card, a grid of samples.

Command:  python -m recipes.zoo RUN NAME --data SET --images DIR [as 'ganpress evaluate']
          python -m recipes.zoo --again NAME --images DIR [as 'ganpress evaluate']
          python -m recipes.zoo --table
Result:   zoo/NAME.safetensors (its discriminator inside, or beside it where both are larger than a
          file of the zoo may be: NAME-discriminator.safetensors), zoo/NAME.json, zoo/NAME.png or
          .jpg, and zoo/README.md, written from all cards.

The metrics are those of the file as it is written, half precision and all. `--again` measures a
teacher that is in the zoo anew, by the metrics there are now, on the pictures of its card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.zoo.cards import TERMS
from recipes.zoo.files import ZOO, add, measure_again
from recipes.zoo.page import write_table

from ganpress.data import open_images
from ganpress.errors import ConfigError, GanpressError


def main() -> None:
    """Read the options, write the files, say what they are."""
    a = _parser().parse_args()
    try:
        if a.table:
            write_table(ZOO)
            return
        if not a.images or (a.again is None and None in (a.run, a.name, a.data)):
            raise ConfigError(
                "Give RUN, NAME, --data and --images; or --again NAME and --images; or --table "
                "alone."
            )
        images = open_images(
            a.images,
            pairs=a.pairs,
            side_by_side=a.side_by_side,
            labels=a.labels,
            instances=a.instances,
        )
        other = open_images(a.other) if a.other else None
        how = {name: getattr(a, name) for name in ("size", "count", "features", "device")}
        how["metrics"] = a.metrics.split(",") if a.metrics else []
        if a.again:
            print(measure_again(a.again, images, other=other, **how))
            return
        for path in add(a.run, a.name, images, data=a.data, way=a.way, other=other, **how):
            print(f"{path}: {path.stat().st_size:,} bytes")
    except GanpressError as error:
        raise SystemExit(f"error: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", help="folder of the finished run")
    parser.add_argument("name", nargs="?", help="of the files in the zoo")
    parser.add_argument("--table", action="store_true", help="only write zoo/README.md again")
    parser.add_argument("--again", metavar="NAME", help="measure a teacher of the zoo anew")
    parser.add_argument("--data", help=f"what it was trained on: {', '.join(TERMS)}")
    parser.add_argument("--way", default="", help="A2B or B2A, where a run trains two")
    parser.add_argument("--images", "--test", type=Path, action="append", help="to evaluate it on")
    parser.add_argument("--other", type=Path, action="append")
    for name in ("--pairs", "--labels", "--instances"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--side-by-side")
    for name in ("--size", "--count"):
        parser.add_argument(name, type=int)
    parser.add_argument("--features", default="squeezenet")
    parser.add_argument("--metrics", default="auto", help="as of 'ganpress evaluate'")
    parser.add_argument("--device", default="cpu", help="for the evaluation")
    return parser


if __name__ == "__main__":
    main()
