"""Weights for nodes that do not have them: in chunks from the driver to a folder of the node, under their hash.

The first worker of a node that lacks a file writes it, whole or not at all; the others find it there.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.errors import ScoringError
from bench.files import atomically
from bench.weights import sha256_of

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Cargo:
    """A weights file, or a folder of the hub, as it lies on the driver.

    sha256: see `bench.weights.sha256_of`. sizes: bytes by name; of a file, its own name.
    """

    path: Path
    folder: bool
    sha256: str
    sizes: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, path: Path) -> Cargo:
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
        sizes = tuple((one.name, one.stat().st_size) for one in files)
        return cls(path.absolute(), path.is_dir(), sha256_of(path), sizes)

    def file(self, name: str) -> Path:
        return self.path / name if self.folder else self.path


def located(cargo: Cargo) -> Path | None:
    """Where the weights lie on this node: at the driver's path, or where they were kept; None where they do not."""
    return next((place for place in (cargo.path, _kept(cargo)) if _same(place, cargo)), None)


def unpack(cargo: Cargo, chunks: Mapping[str, Iterable[bytes]]) -> Path:
    """Keep the weights on this node, unless another worker just did; returns where.

    Args:
        chunks: of each file, by its name.

    Raises:
        ScoringError: what has arrived is not what was sent.
        StoreError: no room for them.
    """
    place = _kept(cargo)
    folder = place if cargo.folder else place.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{cargo.sha256}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _same(place, cargo):
            return place
        for name, parts in chunks.items():
            atomically(folder / name, partial(_write, parts))
        if not _same(place, cargo):
            raise ScoringError("the weights have arrived damaged", where=place, remedy="run again")
    return place


def pieces(path: Path) -> Iterator[bytes]:
    """A file in chunks."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def scratch() -> Path:
    """A folder of this user on the local disk of the node.

    Raises:
        ScoringError: somebody else has made it.
    """
    place = Path(tempfile.gettempdir()) / f"antispoof-bench-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    about = place.lstat()  # a link leads to a place that somebody else has chosen
    if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode) or about.st_mode & 0o022:
        raise ScoringError("this folder is another user's", where=place, remedy="set TMPDIR on the nodes")
    return place


def _kept(cargo: Cargo) -> Path:
    return scratch() / "weights" / cargo.sha256 / cargo.path.name


def _same(place: Path, cargo: Cargo) -> bool:
    """Sizes first: they tell most differences without reading gigabytes."""
    try:
        sizes = all((place / name if cargo.folder else place).stat().st_size == size for name, size in cargo.sizes)
        return sizes and sha256_of(place) == cargo.sha256
    except OSError:
        return False


def _write(chunks: Iterable[bytes], part: Path) -> None:
    with part.open("wb") as file:
        file.writelines(chunks)
