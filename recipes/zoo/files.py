"""The files of a network in the zoo: its weights in half precision, a grid of samples, its card."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from recipes.zoo.cards import TERMS, card_of
from recipes.zoo.page import write_table

from ganpress.data import Images
from ganpress.errors import CheckpointError, ConfigError, did_you_mean
from ganpress.losses.weights import fingerprint
from ganpress.measures.cost import measure
from ganpress.measures.fidelity import evaluate
from ganpress.measures.quality import evaluate_quality, trained_size
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.checkpoint import fingerprint as weights_of
from ganpress.models.discriminator_file import save_discriminator
from ganpress.run.files import check_name, copy_file, read_json, write_file, write_json
from ganpress.run.grid import grid
from ganpress.training.finish import samples_of

ZOO = Path(__file__).parents[2] / "zoo"
STUDENT = "student.safetensors"
FILE_BYTES, ZOO_BYTES, GRID_BYTES = 4_000_000, 30_000_000, 300_000


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
    """Write the files of one teacher, or of a compression's student, and the table of all; returns
    the files.

    Args: way: which teacher of the run. images, other, how: what `evaluate_quality` takes.
    Raises: ConfigError (the run is not finished, an unknown data set, a student whose teacher is
        not in the zoo), CheckpointError (too large).
    """
    if data not in TERMS:
        raise ConfigError(f"No terms of '{data}'{did_you_mean(data, TERMS)}: add them to TERMS.")
    check_name(name, "name in the zoo")
    made = _file_of(run, way)
    with tempfile.TemporaryDirectory() as folder:
        files = shrunk(load(run / made), Path(folder), name)
        _check_room(files, zoo)
        model = load(files[0])
        found = evaluate_quality(model, images, other=other, **how).as_dict()
        found["protocol"]["held out"] = _held_out(run, images)
        card = {
            **card_of(run, model, data),
            **(student_of(run, model, images, zoo, **how) if made == STUDENT else {}),
            "evaluation": found,
            "files": {file.name: _facts(file) for file in files},
        }
        zoo.mkdir(parents=True, exist_ok=True)
        kept = [zoo / file.name for file in files]
        for file, to in zip(files, kept, strict=True):
            copy_file(file, to)
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


def _file_of(run: Path, way: str) -> str:
    """The file of a run's model: its student, or its teacher of this way."""
    if not (run / "results.json").exists():
        raise ConfigError(f"{run} is not a finished run: it has no results.json.")
    if (run / STUDENT).exists() and not way:
        return STUDENT
    teachers = read_json(run / "results.json").get("teachers", {})
    if way not in teachers:
        raise ConfigError(f"{run} has no teacher '{way}'; it has {', '.join(teachers) or 'none'}.")
    return str(teachers[way]["file"])


def student_of(run: Path, student: Model, images: Images, zoo: Path, **how: Any) -> dict[str, Any]:
    """Whose student it is, what it costs of that, and how far its pictures are from that one's."""
    wanted = read_json(run / "card.json")["teacher"]
    loaded = ((card.stem, load(card.with_suffix(".safetensors"))) for card in zoo.glob("*.json")
              if "evaluation" in read_json(card))  # fmt: skip
    name, teacher = next(((n, m) for n, m in loaded if weights_of(m.net) == wanted), ("", None))
    if teacher is None:
        raise ConfigError(f"The teacher of {run} is not in {zoo}: put it there first.")
    size = how.get("size") or trained_size(teacher)
    asked = {key: how[key] for key in ("count", "features", "metrics") if how.get(key)}
    found = evaluate(student, teacher, images, size=size, **asked).as_dict()
    share = measure(student.net, size).macs / measure(teacher.net, size).macs
    return {"student": {"of": name, "method": read_json(run / "config.json")["method"],
                        "share_of_macs": share, "evaluation": found}}  # fmt: skip


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


def _facts(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": fingerprint(file)}


def _held_out(run: Path, images: Images) -> str:
    card = read_json(run / "card.json")
    seen = images.digest() in (card.get("data_hash"), card.get("other_hash"))
    return "no: these were trained on" if seen else "another set than was trained on"


def write_grid(model: Model, images: Images, stem: Path, size: int | None = None) -> Path:
    """The samples as stem.png, or stem.jpg at the best quality that is small enough."""
    picture, columns, _ = samples_of(model, images, size or trained_size(model))
    image = Image.fromarray(grid(picture, columns=columns))
    for old in (stem.with_suffix(".png"), stem.with_suffix(".jpg")):
        old.unlink(missing_ok=True)
    ways: list[tuple[str, str, dict[str, Any]]] = [("PNG", ".png", {"optimize": True})]
    ways += [("JPEG", ".jpg", {"quality": q, "optimize": True}) for q in (95, 90, 85, 75, 60, 40)]
    for kind, suffix, how in ways:
        out = io.BytesIO()
        image.save(out, format=kind, **how)
        if out.tell() <= GRID_BYTES:
            data, path = out.getvalue(), stem.with_suffix(suffix)
            write_file(path, data)
            return path
    raise CheckpointError(f"The samples do not fit into {GRID_BYTES:,} bytes: show fewer.")
