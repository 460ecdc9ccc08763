"""Bytes of packs, wherever they lie: a local folder, or what fsspec reads.

No remote file system is held here: fsspec keeps one for each process and drops those of the process that it was forked
from, so it is asked anew each time, and a decode worker never uses a connection of its parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import DataError
from bench.shards import is_address


class Range(NamedTuple):
    """Bytes of a file from `start` to before `stop`."""

    address: str
    start: int
    stop: int


def read(address: str) -> bytes:
    """A whole file.

    Raises:
        FileNotFoundError: there is none. DataError: it cannot be read.
    """
    with _explained(address):
        if not is_address(address):
            return Path(address).read_bytes()
        system, path = _remote(address)
        content: bytes = system.cat_file(path)
        return content


def ranges(wanted: Sequence[Range]) -> list[bytes | Exception]:
    """The bytes of each range, fewer where its file ends before, or why there are none.

    Those of one remote folder are asked for together.
    """
    found: list[bytes | Exception] = [FileNotFoundError()] * len(wanted)
    remote: dict[str, list[int]] = {}
    for position, one in enumerate(wanted):
        if is_address(one.address):
            remote.setdefault(one.address.rpartition("/")[0], []).append(position)
        else:
            found[position] = _local(one)
    for positions in remote.values():
        for position, content in zip(positions, _together([wanted[p] for p in positions]), strict=True):
            found[position] = content
    return found


def _local(wanted: Range) -> bytes | Exception:
    try:
        with Path(wanted.address).open("rb") as file:
            file.seek(wanted.start)
            return file.read(wanted.stop - wanted.start)
    except OSError as error:
        return error


def _together(wanted: Sequence[Range]) -> Sequence[bytes | Exception]:
    try:
        with _explained(wanted[0].address):
            system, _ = _remote(wanted[0].address)
            paths = [_remote(one.address)[1] for one in wanted]
            starts, stops = [one.start for one in wanted], [one.stop for one in wanted]
            found: Sequence[bytes | Exception] = system.cat_ranges(paths, starts, stops, on_error="return")
            return found
    except (DataError, FileNotFoundError) as error:
        return [error] * len(wanted)


def present(addresses: Sequence[str]) -> set[str]:
    """Those files that are there. A remote folder is listed once; where that tells nothing, each file is asked for.

    Raises:
        DataError: a remote store that does not answer.
    """
    folders: dict[str, list[str]] = {}
    for address in addresses:
        folders.setdefault(address.rpartition("/")[0], []).append(address)
    there: set[str] = set()
    for folder, files in folders.items():
        there |= _present_in(folder, files) if is_address(folder) else {one for one in files if Path(one).is_file()}
    return there


def _present_in(folder: str, addresses: Sequence[str]) -> set[str]:
    with _explained(folder):
        system, path = _remote(folder)
        system.invalidate_cache(path)
        try:
            names = {name.rpartition("/")[2] for name in system.ls(path, detail=False)}
        except (FileNotFoundError, NotImplementedError):
            names = set()
        there = {address for address in addresses if address.rpartition("/")[2] in names}
        # Of a plain web server a folder may be no list of its files.
        return there or {address for address in addresses if system.exists(_remote(address)[1])}


def _remote(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address)
    return system, str(path)


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """What a store refuses, as a DataError with the remedy; that a file is not there stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except ImportError as error:
        remedy = "install the package that fsspec names: s3fs for s3://, gcsfs for gs://, aiohttp for http(s)://"
        raise DataError(f"this address cannot be read: {error}", where=address, remedy=remedy) from None
    except Exception as error:  # twenty libraries, each with exceptions of its own
        what = f"the pack cannot be read: {type(error).__name__}: {error}"
        raise DataError(what, where=address, remedy="check the address, the network and your permissions") from None
