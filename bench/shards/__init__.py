"""Corpora as shards: a few large files instead of 600,000 small ones, which are slow on network disks.

A pack is a folder, or an address that fsspec reads (`s3://bucket/packs/itw`, `memory://itw`):

    pack.json             what it holds (`bench.shards.pack.Manifest`); written last, so that half a pack is none
    trials.parquet        the trial table without `path`, and where the audio of each trial is: shard, offset, size
    <name>-00000.tar ...  the files of the corpus, byte for byte; or .parquet, as the model hub's audio datasets are

In both forms a file is so many bytes at a known place of a shard, uncompressed, so reading needs neither tar nor
parquet: one range of bytes is one file, and neighbours are one range.

The `path` of a packed trial names that range (`Member`). No file of a user has such a path: it holds `//` behind its
beginning, and paths that readers give are normalised, so a name in a protocol cannot lead here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

PREFIX = "shard://"
_PATH = re.compile(rf"{PREFIX}([^#]+)#(\d{{1,18}})\+(\d{{1,18}}):([0-9a-f]{{8}})/(.*)", re.DOTALL)


class Member(NamedTuple):
    """A file in a shard: `size` bytes from `offset` on, with their CRC-32. `address` is that of the shard."""

    address: str
    offset: int
    size: int
    crc: int
    name: str

    @property
    def path(self) -> str:
        """`shard:///data/packs/itw/itw-00000.tar#512+40960:1a2b3c4d/12.wav`, the inverse of `member`."""
        return f"{PREFIX}{_quoted(self.address)}#{self.offset}+{self.size}:{self.crc:08x}/{self.name}"

    @property
    def told(self) -> str:
        """Shard and member, without where the pack lies: `itw-00000.tar/12.wav`."""
        return f"{self.address.rpartition('/')[2]}/{self.name}"


def _quoted(address: str) -> str:
    return address.replace("%", "%25").replace("#", "%23")


def member(path: str | Path) -> Member | None:
    """What the path of a packed trial names; None for any other path."""
    found = _PATH.fullmatch(path) if isinstance(path, str) else None  # a Path has lost the `//`
    if found is None:
        return None
    address, offset, size, crc, name = found.groups()
    return Member(unquote(address), int(offset), int(size), int(crc, 16), name)


def shard_of(path: str) -> str | None:
    """The address of the shard that the path of a packed trial names; None for any other path."""
    return unquote(path[len(PREFIX) :].partition("#")[0]) if path.startswith(PREFIX) else None


def place_of(text: str | Path) -> str | Path:
    """A place that a user names: an address with `://` stays a text, which a Path would change."""
    return text if is_address(text) else Path(text)


def is_address(place: str | Path) -> bool:
    """Whether fsspec is to read it, and not the file system."""
    return isinstance(place, str) and "://" in place
