"""The error tree. Every message says what was wrong, where, and what to do.

GanpressError                exit code 2
├── ConfigError              a setting is unknown, out of range, or differs from the run's
│   └── NotPossible          a variant of an ablation that this teacher cannot run
├── ImagesError              a folder, file or pack of images cannot be used
├── CheckpointError          a model file cannot be read, or is not of the kind expected
│   └── UnsafePickle         a file that wants to run code when loaded
├── WidthsError              widths or keep lists that do not fit the network
├── InfeasibleTarget         a cost target below the smallest possible network
├── WeightsError             a published weight file is missing or has the wrong hash
├── HubError                 a repository on the hub that cannot be read or written
├── MissingExtra             an optional package is not installed
├── ExportError              an exported file that does not agree with torch
├── Diverged                 a loss is not finite
├── DiskFull                 no space left while writing
├── SearchFailed             a search's storage is gone, or none of its width sets could be scored
├── Elsewhere                another process of a torchrun training failed
└── Interrupted              SIGINT or SIGTERM: state saved, exit code 130 or 143
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from pathlib import Path

from ganpress.sniff import folder_of, not_there

EXTRAS = {
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "huggingface_hub": "hub",
    "optuna": "search",
}
"""Optional packages, and the extra of ganpress that each comes with."""


class GanpressError(Exception):
    """Base of every error a user can cause or meet; the CLI prints it without a traceback."""

    exit_code = 2


class ConfigError(GanpressError):
    """A setting is unknown, out of range, or differs from the one the run was started with."""


class NotPossible(ConfigError):
    """A variant of an ablation that this teacher cannot run; the other variants can."""


class ImagesError(GanpressError):
    """A folder, file or pack of images cannot be used."""


class CheckpointError(GanpressError):
    """A model file cannot be read, or is not of the kind expected."""


class UnsafePickle(CheckpointError):
    """A file that wants to run code when it is loaded; it was not run."""


class WidthsError(GanpressError):
    """Widths or keep lists that do not fit the network."""


class InfeasibleTarget(GanpressError):
    """A cost target below the smallest possible network."""


class WeightsError(GanpressError):
    """A published weight file is missing or does not have its published hash."""


class HubError(GanpressError):
    """A repository on the hub cannot be read or written, or does not hold what is asked for."""


class MissingExtra(GanpressError):
    """An optional package is not installed; the message gives the pip line."""


class ExportError(GanpressError):
    """An exported file does not agree with the torch model; it was removed."""


class Diverged(GanpressError):
    """A loss is not finite; the last good state is kept."""


class DiskFull(GanpressError):
    """No space left while writing; the previous file is intact."""


class SearchFailed(GanpressError):
    """A search whose storage is gone, or of which no width set could be scored; what was scored is
    kept."""


class Elsewhere(GanpressError):
    """Another process of the same torchrun training failed; its message gives the reason."""


class Interrupted(GanpressError):
    """SIGINT or SIGTERM arrived: the state was saved and the run can be resumed."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Text to append to an error: the nearest valid name, or '' when nothing is near."""
    known = list(names)
    same = [each for each in known if each.lower() == name.lower()]
    near = same or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


def require(doing: str, *packages: str) -> None:
    """Refuse what cannot be done here for want of an optional package.

    Args:
        doing: what needs them, the subject of the message: "Export to ONNX".
        packages: keys of `EXTRAS`; others come with ganpress itself.

    Raises: MissingExtra for the first that is missing, or that is there and cannot be imported.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            extra = f"[{EXTRAS[package]}]" if package in EXTRAS else ""
            line = f"pip install 'ganpress{extra}'"
            if isinstance(error, ModuleNotFoundError) and error.name == package:
                message = f"{doing} needs the package '{package}': {line}"
            else:
                message = (
                    f"{doing} needs the package '{package}', which is installed and cannot be "
                    f"imported ({error}): pip install --force-reinstall {package}, or in a new "
                    f"environment {line}"
                )
            raise MissingExtra(message) from error


def no_file(path: Path, what: str, patterns: Iterable[str]) -> CheckpointError:
    """The error for a path that is no file; it names the files in a folder, or the nearest name.

    Args:
        what: "model" or "checkpoint".
        patterns: globs of the files to name where the path is a folder.
    """
    if path.is_dir():
        if known := folder_of(path):
            return CheckpointError(f"{path} {known}.")
        found = [str(file) for pattern in patterns for file in sorted(path.glob(pattern))]
        inside = list(dict.fromkeys(found))[:3]
        advice = f"Give {' or '.join(inside)}." if inside else "Give the file itself."
        return CheckpointError(f"{path} is a folder, not a {what} file. {advice}")
    if known := not_there(path):
        return CheckpointError(f"{path} {known}.")
    beside = [p.name for p in path.parent.glob("*") if p.is_file() and p.name != path.name]
    return CheckpointError(f"There is no {what} file {path}{did_you_mean(path.name, beside)}.")
