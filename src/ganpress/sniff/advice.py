"""One sentence for every reader: what a file is in place of what was wanted, and what to do."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Literal

from ganpress.sniff.look import JOIN, PICTURES, Group, Seen, look

Wanted = Literal[
    "model", "checkpoint", "weights", "picture", "pack", "state", "settings", "json", "archive",
    "directions",
    "latent", "network",
]  # fmt: skip

NAMES: dict[Wanted, str] = {
    "model": "a ganpress model (.safetensors)",
    "checkpoint": "a checkpoint (.pth, .pt, .safetensors or .pkl)",
    "weights": "a file of weights (.pth or .safetensors)",
    "picture": "a picture",
    "pack": "a folder of pictures, a .zip or .tar of them, or an .npz pack",
    "state": "a saved state",
    "settings": "a TOML file of settings",
    "json": "JSON",
    "archive": "an archive",
    "directions": "edit directions (.safetensors)",
    "latent": "a latent code (.safetensors)",
    "network": "an exported network (.onnx or .xml)",
}
RIGHT: dict[Wanted, tuple[Group, ...]] = {
    "model": ("model",),
    "checkpoint": ("torch", "pickle", "safetensors", "model"),
    "weights": ("torch", "safetensors"),
    "picture": ("picture",),
    "pack": ("arrays",),
    "state": ("torch",),
    "settings": ("text", "empty"),
    "json": ("text",),
    "archive": ("archive",),
    "directions": (),
    "latent": (),
    "network": ("network",),
}
_FOLDERS = {
    "saved_model.pb": "a TensorFlow SavedModel",
    "Manifest.json": "a Core ML package",
    "_CHECKPOINT_METADATA": "an Orbax checkpoint of JAX",
    "_METADATA": "an Orbax checkpoint of JAX",
}
_NO_TENSORFLOW = (
    "only PyTorch's tensors are read: give a file of torch.save(net.state_dict(), FILE)"
)
_AGAIN = "copy or download it again"
_STATE_DICT = "save torch.save(net.state_dict(), FILE) in its own code base, and give that file"


def misplaced(file: Path | bytes, wanted: Wanted) -> str:
    """What to say after the name of a file that a reader has failed on: "is a git-lfs pointer, not
    a picture. Run 'git lfs pull' in its repository" (without the last full stop).

    "" where the file is what was wanted as far as its first bytes show, or of no known kind: then
    the reader's own words say what is wrong with it.
    """
    try:
        seen = look(file)
    except OSError:
        return ""
    if seen.group == "unknown":
        return ""
    if seen.group in RIGHT[wanted]:
        if seen.short:
            return f"is {seen.what} that is cut short ({seen.short}). {_capital(_AGAIN)}"
        return f"is {seen.what}, which is read after {seen.needs}" if seen.needs else ""
    short = f", and cut short ({seen.short})" if seen.short else ""
    where = file if isinstance(file, Path) else None
    advice = _advice(seen, wanted, where)
    return f"is {seen.what}{short}, not {NAMES[wanted]}. {_capital(advice)}"


_YAML = re.compile(r"\s*(?:(?:#.*|---)?\n\s*)*[\w.-]+:(?:\s|$)")


def no_toml(path: Path, error: Exception) -> str:
    """What to say after the name of a file that a reader of TOML has failed on."""
    if other := misplaced(path, "settings"):
        return other
    start = path.read_bytes()[:4096].decode("utf-8", "replace").lstrip("\ufeff")
    if path.suffix.lower() in (".yaml", ".yml") or _YAML.match(start):
        what = "YAML"
    elif path.suffix.lower() == ".json" or start.lstrip()[:1] == "{":
        what = "JSON"
    else:
        hint = ". Texts stand in quotes; yes and no are true and false"
        return f"is not valid TOML: {error}{hint if 'Invalid value' in str(error) else ''}"
    return f"is {what}, not TOML. Write lines such as seed = 1, and a group's below a line [data]"


_ADDRESS = re.compile(r"(https?|ftp|s3|gs|hf|hub|file):/{0,2}(.+)", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?]|\[.+\]")


def not_there(path: Path) -> str:
    """What to say after the name of a path that does not exist, where one sees what was meant: an
    address, a wildcard, a dead link, a TensorFlow checkpoint's prefix; "" for anything else."""
    if path.exists():
        return ""
    if address := _ADDRESS.fullmatch(str(path)):
        scheme = address[1].lower()
        if scheme == "file":
            return f"is an address, not a path. Give the path: /{address[2].lstrip('/')}"
        if scheme in ("hf", "hub"):
            return "is an address of the hub, which is not read here. Fetch it: 'ganpress pull'"
        return "is an address, not a path. Download it, and give what was downloaded"
    if _WILDCARD.search(path.name) and path.parent.is_dir():
        return f"is a pattern that matches nothing here. Give a path, or the folder {path.parent}"
    if path.with_name(f"{path.name}.index").is_file():
        return f"is the name of a TensorFlow checkpoint's files. {_capital(_NO_TENSORFLOW)}"
    return dead_link(path)


def folder_of(path: Path) -> str:
    """What a folder is that somebody may take for a file of weights, and what to do, to be said
    after its name; "" for any other folder."""
    if (path / "data.pkl").is_file() and (path / "data").is_dir():
        return (
            "is a torch checkpoint that was unpacked. Pack its folder again, without compression "
            f"(cd {shlex.quote(str(path.absolute().parent))} && zip -0 -r "
            f"{shlex.quote(f'{path.name}.pth')} {shlex.quote(path.name)}), and give that file"
        )
    if any(path.glob("*.distcp")):
        return f"is a distributed checkpoint. {_capital(JOIN)}"
    for inside, what in _FOLDERS.items():
        if (path / inside).exists():
            return f"is {what}. {_capital(_NO_TENSORFLOW)}"
    return ""


def dead_link(path: Path) -> str:
    """What to say after the name of a link to a file that is not there; "" for anything else."""
    if not path.is_symlink() or path.exists():
        return ""
    to = os.readlink(path)
    remedy = (
        "Run 'git annex get' on it in its repository" if "annex/objects" in to else "Restore it"
    )
    return f"is a link to {to}, which is not there. {remedy}, or give another file"


def _capital(advice: str) -> str:
    return advice[:1].upper() + advice[1:]


def _advice(seen: Seen, wanted: Wanted, path: Path | None) -> str:
    if seen.remedy:
        return seen.remedy
    if wanted in ("picture", "pack"):
        return _for_pictures(seen, wanted, path)
    if wanted in ("state", "json"):
        return "something has replaced it"
    if wanted == "settings":
        return "give a .toml file, as 'ganpress settings' prints it"
    if wanted == "archive" or seen.short:
        return _AGAIN
    if wanted == "directions":
        return "give the file that 'ganpress edit directions' wrote"
    if wanted == "latent":
        return "give a file that 'ganpress edit project' wrote"
    if wanted == "network" and seen.group == "model":
        return "export it first ('ganpress export'), and give that file"
    if wanted == "network" and seen.group != "archive":
        return "give a file that 'ganpress export' or another exporter wrote"
    return _for_weights(seen, wanted, path)


def _for_pictures(seen: Seen, wanted: Wanted, path: Path | None) -> str:
    if wanted == "pack" and seen.group == "picture" and path is not None:
        named = path.suffix.lower() in PICTURES
        return f"give the folder: {path.parent}" if named else "name it so, and give its folder"
    if seen.group == "archive" and (not seen.inside or _of_pictures(seen)):
        return "unpack it, and give the folder of its pictures"
    if seen.group in ("database", "array"):
        return "write its pictures to a folder as PNG, and give that"
    if seen.group == "picture of another kind":
        return "save it as PNG or JPEG"
    if wanted == "pack":
        return "give the folder that the pictures lie in"
    return "put the picture in its place, or remove it"


def _for_weights(seen: Seen, wanted: Wanted, path: Path | None) -> str:
    """Advice where a model, a checkpoint or a feature network's weights were wanted."""
    name = shlex.quote(str(path)) if path else "FILE"
    if seen.group == "archive" and not _of_pictures(seen):
        first = f"give {seen.inside[0]} from it" if seen.inside else "give the file in it"
        return f"unpack it, and {first}"
    if wanted == "model" and seen.group in ("torch", "pickle", "safetensors"):
        return f"import it with 'ganpress import auto {name} -o MODEL.safetensors'"
    if wanted == "model":
        if seen.group == "network":
            return "an exported network cannot be read back, so give the model it was made from"
        return "give the file that 'ganpress import', 'train' or 'compress' wrote"
    if seen.group == "model":
        return "give the weights of the network that is named"
    if seen.group in ("network", "pickle"):
        return f"only PyTorch's tensors are read, so {_STATE_DICT}"
    return "give the network's weights"


def _of_pictures(seen: Seen) -> bool:
    """Whether all that is of use in an archive is pictures."""
    return bool(seen.inside) and seen.inside[0].lower().endswith(PICTURES)
