"""Members of shards: the bytes of one, or of all of a batch at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bench.errors import AudioError, DataError
from bench.shards import Member, member
from bench.shards.storage import Range, ranges

GAP = 1 << 16  # bytes between two members that are read rather than asked for apart
LONGEST = 1 << 26  # bytes of one request
MOST = 1 << 28  # bytes of one batch that are read ahead

_ahead: dict[str, bytes] = {}  # of the batches that are being decoded, by path


@contextmanager
def fetch(paths: Iterable[str]) -> Iterator[None]:
    """Reads ahead the members of shards among these paths; `bench.audio` finds them until the block is left.

    Neighbours are read as one range, and all ranges of a remote store are asked for together. What is beyond 256 MB, or
    cannot be read, is left to the functions that want it, which say why. Any thread of the process may use what was
    read ahead.
    """
    held = _read_ahead({path: found for path in paths if (found := member(path)) is not None and found.size})
    _ahead.update(held)
    try:
        yield
    finally:
        for path in held:
            _ahead.pop(path, None)


def _read_ahead(wanted: dict[str, Member]) -> dict[str, bytes]:
    groups: list[list[tuple[str, Member]]] = []
    last, total = Range("", 0, 0), 0
    for path, one in sorted(wanted.items(), key=lambda item: item[1]):
        total += one.size
        if total > MOST:
            break
        near = one.address == last.address and one.offset - last.stop <= GAP
        if near and one.offset + one.size - last.start <= LONGEST:
            groups[-1].append((path, one))
            last = last._replace(stop=max(last.stop, one.offset + one.size))
        else:
            groups.append([(path, one)])
            last = Range(one.address, one.offset, one.offset + one.size)
    held: dict[str, bytes] = {}
    for group, found in zip(groups, ranges([_span(group) for group in groups]), strict=True):
        if isinstance(found, bytes):
            start = group[0][1].offset
            held.update((path, found[one.offset - start : one.offset - start + one.size]) for path, one in group)
    return held


def _span(group: list[tuple[str, Member]]) -> Range:
    members = [one for _, one in group]
    return Range(members[0].address, members[0].offset, max(one.offset + one.size for one in members))


def content(path: str, wanted: Member) -> bytes:
    """The bytes of a member, as they were packed.

    Raises:
        AudioError: its shard is missing, ends too early, cannot be read, or holds something else there.
    """
    found: bytes | Exception | None = _ahead.get(path) if wanted.size else b""
    if found is None:
        (found,) = ranges([Range(wanted.address, wanted.offset, wanted.offset + wanted.size)])
    remedy = "copy this shard of the pack again"
    if isinstance(found, FileNotFoundError):
        raise AudioError("the file is missing: its shard is not here", where=path, remedy=remedy)
    if isinstance(found, Exception):
        what = found.what if isinstance(found, DataError) else f"its shard cannot be read: {found}"
        raise AudioError(what, where=path, remedy="check its name, the network and your permissions")
    if len(found) < wanted.size:
        what = f"truncated: its shard holds {len(found):,} of its {wanted.size:,} bytes"
        raise AudioError(what, where=path, remedy=remedy)
    if zlib.crc32(found) != wanted.crc:
        what = "the shard does not hold the file that was packed here"
        raise AudioError(what, where=path, remedy=f"{remedy}: it is damaged, or of another packing")
    return found
