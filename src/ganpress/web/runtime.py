"""onnxruntime-web, which runs the models in the browser: from its npm package, pinned, kept in the
user's cache.

npm fetches it as it is configured (registry, proxy, certificates), and nothing in the package is
run here. Its scripts and WebAssembly are copied into the site, so that the page asks no other host.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ganpress.errors import ConfigError, MissingExtra
from ganpress.run.cache import cache_dir
from ganpress.run.files import make_folder, write_file
from ganpress.run.locks import alone

VARIABLE = "GANPRESS_ONNXRUNTIME_WEB"
"""Environment variable that names the package's file where npm cannot fetch it."""
WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEBGPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Package:
    """An npm package at one version.

    integrity: the registry's SHA-512 of its archive, "sha512-" and base64, as lock files have it.
    """

    name: str
    version: str
    integrity: str

    @property
    def spec(self) -> str:
        """As npm calls it."""
        return f"{self.name}@{self.version}"


PACKAGE = Package(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)


def runtime_files(archive: Path | None = None, *, webgpu: bool = True) -> Mapping[str, Path]:
    """The scripts and WebAssembly of onnxruntime-web, by name, from the cache or else from npm.

    Args:
        archive: the package's .tgz; None: what `VARIABLE` names, or else npm fetches it.
        webgpu: with those for GPUs.
    Raises: MissingExtra where it is not here and cannot be fetched, ConfigError where the archive
        is another one than is pinned, DiskFull.
    """
    names, package = WASM + (WEBGPU if webgpu else ()), PACKAGE
    folder = cache_dir() / "onnxruntime-web" / package.version
    kept = {name: folder / name for name in names}
    given = archive or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if given is None and all(path.is_file() for path in kept.values()):
        return kept
    make_folder(folder)
    with alone(folder.with_name(f"{package.version}.lock")):
        if given is not None:
            _unpack(given, folder, package)
        elif not all(path.is_file() for path in kept.values()):  # nobody fetched it meanwhile
            with TemporaryDirectory() as fetched:
                _unpack(_fetch(package, Path(fetched)), folder, package)
    return kept


def _fetch(package: Package, into: Path) -> Path:
    """The package's archive, by the npm client."""
    npm = shutil.which("npm")
    elsewhere = (
        f"Or, on a machine that has it, 'npm pack {package.spec}', and give that file: "
        f"--onnxruntime-web FILE, or {VARIABLE}=FILE."
    )
    if npm is None:
        raise MissingExtra(
            f"The page runs models by {package.spec}, which npm fetches, and there is no npm here. "
            f"Install it (apt-get install npm, or Node.js's installer). {elsewhere}"
        )
    command = [npm, "pack", package.spec, "--ignore-scripts", "--pack-destination", str(into)]
    try:
        done = subprocess.run(
            command, cwd=into, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MissingExtra(
            f"npm did not bring {package.spec} in {_TIMEOUT_S:.0f} s. Check the connection and "
            f"start again. {elsewhere}"
        ) from error
    archives = sorted(into.glob("*.tgz"))
    if done.returncode or not archives:
        raise MissingExtra(
            f"npm cannot fetch {package.spec} ({_reason(done.stderr)}). Check the connection, and "
            f"npm's registry ('npm config get registry'). {elsewhere}"
        )
    return archives[0]


def _reason(stderr: str) -> str:
    """What npm says went wrong, in one line."""
    lines = [line.removeprefix("npm error").removeprefix("npm ERR!") for line in stderr.splitlines()
             if line.startswith(("npm error", "npm ERR!"))]  # fmt: skip
    said = [line.strip() for line in lines if line.strip() and "log of this run" not in line]
    return "; ".join(said[:3]) or "it does not say why"


def _unpack(archive: Path, folder: Path, package: Package) -> None:
    """The files that pages need, of an archive that is the pinned one, into ``folder``."""
    try:
        data = archive.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{archive} cannot be read ({error.strerror}): give the file that 'npm pack "
            f"{package.spec}' writes, or leave it out and npm fetches it."
        ) from error
    found = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if f"sha512-{found}" != package.integrity:
        raise ConfigError(
            f"{archive} is not the published {package.spec}: its SHA-512 is {found}. Give the file "
            f"that 'npm pack {package.spec}' writes."
        )
    with tarfile.open(archive) as opened:
        for name in WASM + WEBGPU:
            member = opened.extractfile(f"package/dist/{name}")
            assert member is not None  # the archive is the pinned one
            with member:
                content = member.read()
            write_file(folder / name, content)
