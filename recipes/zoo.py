"""Put a finished training into the zoo: its teacher in half precision, a card, a grid of samples.

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
import io
import json
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ganpress.data import Images, open_images
from ganpress.errors import CheckpointError, ConfigError, GanpressError, did_you_mean
from ganpress.losses.weights import fingerprint
from ganpress.measures.cost import measure
from ganpress.measures.quality import evaluate_quality, trained_size
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.discriminator_file import save_discriminator
from ganpress.run.files import check_name, read_json, replace_file, write_json
from ganpress.run.grid import grid
from ganpress.training.train import samples_of
from ganpress.web.inputs import OUTLINE
from ganpress.web.label_names import LABEL_SETS

ZOO = Path(__file__).parents[1] / "zoo"
FILE_BYTES, ZOO_BYTES, GRID_BYTES = 4_000_000, 30_000_000, 300_000


@dataclass(frozen=True)
class Terms:
    """A data set that a teacher of the zoo was trained on, and on whose terms."""

    what: str
    terms: str


TERMS = {
    "lfw": Terms(
        "Labeled Faces in the Wild, deep-funneled, centre crop of 128 pixels, resized to 64",
        "research use (University of Massachusetts); the photos are their owners'",
    ),
    "cifar10": Terms(
        "CIFAR-10, as JPEGs of quality 75: its numbers compare with each other only",
        "no licence given; cite Krizhevsky 2009; research use",
    ),
    "facades": Terms(
        "CMP facades (base), photos and label maps, resized to 256 pixels",
        "no licence given; cite Tylecek and Sara 2013; research use",
    ),
    "openmoji": Terms(
        "OpenMoji 17.0.0: black outlines and the coloured drawings, 128 pixels",
        "OpenMoji, the open-source emoji and icon project, openmoji.org: CC BY-SA 4.0, as are this "
        "model and its pictures",
    ),
    "monet2photo": Terms(
        "monet2photo of CycleGAN: paintings by Monet, photos of landscapes (a part: 1000)",
        "paintings in the public domain; the photos by Flickr's terms; research use",
    ),
    "cartoon": Terms(
        "stills of animated films by Ghibli, from the web; photos of monet2photo",
        "the films' owners'; research use only",
    ),
}


def page_facts(data: str, family: str) -> dict[str, Any]:
    """What the page in the browser asks people to draw for a network that reads this set's drawings
    (`ganpress.web.inputs`): nothing for sets of photos."""
    if data == "facades" and family == "gaugan":
        return {"labels": data}
    if data == "openmoji":
        return {"input": OUTLINE.facts()}
    if data == "facades":
        nothing, background, wall, *parts = LABEL_SETS[data](13)
        palette = [label.facts() for label in (wall, background, *parts, nothing)]
        return {"input": {"palette": palette}}
    return {}


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
    parser.add_argument("run", type=Path, nargs="?", help="folder of the finished training")
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


def add(
    run: Path,
    name: str,
    images: Images,
    *,
    data: str,
    way: str = "",
    other: Images | None = None,
    zoo: Path = ZOO,
    **how: Any,
) -> list[Path]:
    """Write the files of one teacher and the table of all; returns the files.

    Args: way: which teacher of the run. images, other, how: what `evaluate_quality` takes.
    Raises: ConfigError (the run is not finished, an unknown data set), CheckpointError (too large).
    """
    if data not in TERMS:
        raise ConfigError(f"No terms of '{data}'{did_you_mean(data, TERMS)}: add them to TERMS.")
    check_name(name, "name in the zoo")
    teacher = _teacher_of(run, way)
    with tempfile.TemporaryDirectory() as folder:
        files = shrunk(load(run / teacher["file"]), Path(folder), name)
        _check_room(files, zoo)
        model = load(files[0])
        found = evaluate_quality(model, images, other=other, **how).as_dict()
        found["protocol"]["held out"] = _held_out(run, images)
        card = {
            **card_of(run, model, data),
            "evaluation": found,
            "files": {file.name: _facts(file) for file in files},
        }
        zoo.mkdir(parents=True, exist_ok=True)
        kept = [_moved(file, zoo / file.name) for file in files]
    picture = write_grid(model, images, zoo / name, how.get("size"))
    write_json(zoo / f"{name}.json", card | {"grid": picture.name})
    return [*kept, zoo / f"{name}.json", picture, write_table(zoo)]


def measure_again(
    name: str, images: Images, *, other: Images | None = None, zoo: Path = ZOO, **how: Any
) -> Path:
    """Measure a teacher of the zoo anew, write its card and the table; returns the table.

    Raises: ConfigError for a name that is not in the zoo, and pictures that are not its card's.
    """
    path = zoo / f"{name}.json"
    if not path.exists():
        cards = [card.stem for card in zoo.glob("*.json")]
        raise ConfigError(f"There is no teacher '{name}' in {zoo}{did_you_mean(name, cards)}.")
    card = read_json(path)
    was = card["evaluation"]["protocol"]
    found = evaluate_quality(
        load(zoo / f"{name}.safetensors"), images, other=other, **how
    ).as_dict()
    found["protocol"]["held out"] = was["held out"]
    if found["protocol"]["photos"] != was["photos"]:
        raise ConfigError(
            f"The card of {name} is of the pictures '{was['photos']}', and these are "
            f"'{found['protocol']['photos']}': give the same."
        )
    write_json(path, card | {"evaluation": found})
    return write_table(zoo)


def _teacher_of(run: Path, way: str) -> dict[str, Any]:
    if not (run / "results.json").exists():
        raise ConfigError(f"{run} is not a finished training: it has no results.json.")
    teachers = read_json(run / "results.json").get("teachers", {})
    if way not in teachers:
        raise ConfigError(f"{run} has no teacher '{way}'; it has {', '.join(teachers) or 'none'}.")
    return dict(teachers[way])


def shrunk(model: Model, folder: Path, name: str) -> list[Path]:
    """The model in half precision, with its discriminator inside or, if that is too much, beside.

    Raises `CheckpointError` where a file is still larger than the zoo takes.
    """
    model.provenance = {k: v for k, v in model.provenance.items() if k != "command"}
    path = save(model, folder / f"{name}.safetensors", half=True)
    files = [path]
    if path.stat().st_size > FILE_BYTES and model.discriminator is not None:
        discriminator = save_discriminator(
            model.discriminator, folder / f"{name}-discriminator.safetensors", half=True
        )
        model.discriminator = None
        files = [save(model, path, half=True), discriminator]
    for file in files:
        if file.stat().st_size > FILE_BYTES:
            raise CheckpointError(
                f"{file.name} would have {file.stat().st_size:,} bytes in half precision, a file "
                f"of the zoo at most {FILE_BYTES:,}: train a narrower network (--set width, or "
                "discriminator.width)."
            )
    return files


def _check_room(files: list[Path], zoo: Path) -> None:
    new = {file.name for file in files}
    held = sum(p.stat().st_size for p in zoo.glob("*") if p.name not in new)
    total = held + sum(file.stat().st_size for file in files) + GRID_BYTES
    if total > ZOO_BYTES:
        raise CheckpointError(f"The zoo would have {total:,} bytes, and at most {ZOO_BYTES:,}.")


def _moved(file: Path, to: Path) -> Path:
    data = file.read_bytes()
    replace_file(to, lambda out: out.write(data))
    return to


def _facts(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": fingerprint(file)}


def _held_out(run: Path, images: Images) -> str:
    card = read_json(run / "card.json")
    seen = images.digest() in (card.get("data_hash"), card.get("other_hash"))
    return "no: these were trained on" if seen else "another set than was trained on"


def card_of(run: Path, model: Model, data: str) -> dict[str, Any]:
    """What a run's own files say of how its teacher was made."""
    card, stages = read_json(run / "card.json"), read_json(run / "results.json")["stages"]
    cost = measure(model.net, trained_size(model))
    known = ("data_hash", "photos", "other_hash", "other_photos")
    return {
        "family": model.family.name,
        "options": model.options,
        "widths": model.widths,
        "params": cost.params,
        "macs": cost.macs,
        "size": trained_size(model),
        "precision": "float16",
        "made_by": "cpu recipe" if card["device"] == "cpu" else "gpu recipe",
        "recipe": recipe_of(card["command"]),
        "command": card["command"],
        "settings": read_json(run / "config.json"),
        "steps": sum(stage["steps"] for stage in stages),
        "seconds": round(sum(stage["seconds"] for stage in stages), 1),
        "seed": card["seed"],
        "device": card["device"],
        "threads": card["threads"],
        "processes": card.get("processes", 1),
        "versions": {k: card[k] for k in ("ganpress", "torch", "python", "platform")},
        "data": {"name": data, **vars(TERMS[data])} | {k: card[k] for k in known if k in card},
        **page_facts(data, model.family.name),
    }


def recipe_of(command: str) -> dict[str, Any]:
    """The config file and the --set differences of a 'ganpress train' command."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", "-c")
    parser.add_argument("--set", action="append", default=[])
    known, _ = parser.parse_known_args(shlex.split(command))
    return {"config": known.config, "set": known.set}


def write_grid(model: Model, images: Images, stem: Path, size: int | None = None) -> Path:
    """The samples as stem.png, or stem.jpg at the best quality that is small enough."""
    picture, columns, _ = samples_of(model, images, size or trained_size(model))
    image = Image.fromarray(grid(picture, columns=columns))
    for old in (stem.with_suffix(".png"), stem.with_suffix(".jpg")):
        old.unlink(missing_ok=True)
    for kind, suffix, how in (
        ("PNG", ".png", {"optimize": True}),
        *(("JPEG", ".jpg", {"quality": q, "optimize": True}) for q in (95, 90, 85, 75, 60, 40)),
    ):
        out = io.BytesIO()
        image.save(out, format=kind, **how)
        if out.tell() <= GRID_BYTES:
            data, path = out.getvalue(), stem.with_suffix(suffix)
            replace_file(path, lambda file: file.write(data))  # noqa: B023 (called at once)
            return path
    raise CheckpointError(f"The samples do not fit into {GRID_BYTES:,} bytes: show fewer.")


def write_table(zoo: Path) -> Path:
    """zoo/README.md from the cards."""
    text = table({path.stem: json.loads(path.read_text()) for path in sorted(zoo.glob("*.json"))})
    path = zoo / "README.md"
    replace_file(path, lambda file: file.write(text.encode()))
    return path


def table(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """The zoo as a page: what each teacher is, what it measures, and on whose terms."""
    teachers = {name: card for name, card in cards.items() if "evaluation" in card}
    rest = [name for name in cards if name not in teachers]
    lines = [
        "# The zoo",
        "",
        "Small trained networks, in half precision, each with its card (`.json`) and a grid of "
        "samples. This page is written from the cards: `python -m recipes.zoo --table`.",
        "They show the line working; they are not the papers' models, and their data's terms hold.",
        "",
        "| teacher | family | trained on | parameters | MB | made by | steps | metrics | terms |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(name, card) for name, card in teachers.items()),
        "",
        *(f"- `{name}`: `{cards[name]['command']}`" for name in rest),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(name: str, card: Mapping[str, Any]) -> str:
    found = card["evaluation"]
    numbers = [f"{k} {v:.4g}" for k, v in found["metrics"].items()]
    beside = [f"{k}: {v:.4g}" for k, v in found["yardsticks"].items()]
    megabytes = sum(f["bytes"] for f in card["files"].values()) / 1e6
    trained = f"{card['made_by']}, {card['seconds'] / 60:.0f} min on {card['device']}"
    measured = "<br>".join([*numbers, *(f"*{line}*" for line in beside)])
    cells = (
        f"[{name}]({card['grid']})",
        f"{card['family']}, {card['size']} px",
        card["data"]["what"],
        f"{card['params']:,}",
        f"{megabytes:.2f}",
        trained,
        f"{card['steps']:,}",
        measured,
        card["data"]["terms"],
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
