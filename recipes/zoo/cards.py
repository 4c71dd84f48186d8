"""The card of a network of the zoo: how it was made, from what, and on whose terms."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpress.measures.cost import measure
from ganpress.measures.quality import trained_size
from ganpress.models.checkpoint import Model
from ganpress.run.files import read_json
from ganpress.web.inputs import OUTLINE
from ganpress.web.label_names import LABEL_SETS

ROOT = Path(__file__).parents[2]


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


def card_of(run: Path, model: Model, data: str) -> dict[str, Any]:
    """What a run's own files say of how its teacher was made."""
    card, stages = read_json(run / "card.json"), read_json(run / "results.json")["stages"]
    command = from_here(card["command"])
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
        "recipe": recipe_of(command),
        "command": command,
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


def from_here(command: str) -> str:
    """A command with the files of this repository by their paths in it, wherever the checkout that
    it was given in lay."""

    def named(word: str) -> str:
        parts = Path(word).parts[1:] if Path(word).is_absolute() else ()
        tails = (Path(*parts[i:]) for i in range(1, len(parts) - 1))
        return next((str(tail) for tail in tails if (ROOT / tail).is_file()), word)

    return shlex.join(map(named, shlex.split(command)))


def recipe_of(command: str) -> dict[str, Any]:
    """The config file and the --set differences of a 'ganpress train' command."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", "-c")
    parser.add_argument("--set", action="append", default=[])
    known, _ = parser.parse_known_args(shlex.split(command))
    return {"config": known.config, "set": known.set}
