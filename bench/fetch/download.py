"""One file of a server, put in its place: resumed, bounded, and verified before it has its name.

What has arrived lies in `<name>.part` beside its place, and `<name>.part.json` says what it is a part of. Names are the
caller's: nothing that a server says becomes a path.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, NamedTuple

from rich.filesize import decimal

from bench.errors import DownloadError
from bench.fetch.transport import Passing, ask, patiently, read
from bench.locks import claim
from bench.progress import Display

CHUNK = 1 << 20
SPARE = 64 << 20  # bytes of the disk that stay free


@dataclass(frozen=True)
class Remote:
    """A file on a server. What is published of it (`bytes`, `sha256`, `md5`, None where not) is what has to arrive.

    token: for the server of `url` alone; it does not follow a redirect to another one.
    """

    url: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def hashed(self) -> bool:
        """Whether what has arrived can be told from anything else."""
        return bool(self.sha256 or self.md5)


class Arrived(NamedTuple):
    bytes: int
    sha256: str


def download(remote: Remote, place: Path, display: Display) -> Arrived:
    """Put a file at `place`, which must be free. A part that an earlier call left there is gone on with.

    Raises:
        DownloadError: the server does not have it, refuses it, sends something else or stays out of reach; the disk is
            full; another process is downloading it. What has arrived is kept unless it is not what was published.
    """
    with _open_part(place, remote) as part:
        for again in (False, True):
            patiently(place.name, remote.url, lambda: _receive(remote, part, display), display, lambda: part.bytes)
            wrong = part.difference(remote)
            if wrong is None:
                return part.finish()
            resumed = part.resumed
            part.restart()
            if again or not resumed:
                break
            display.note(f"{place.name}: {wrong}; again from the beginning")  # perhaps halves of different files
        raise DownloadError(
            f"not the published {place.name}: {wrong}",
            where=remote.url,
            remedy="its publisher replaced it, or something between changes it: compare with the publisher's page, "
            "then correct the card, or try from another network",
        )


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raises DownloadError where `needed` more bytes would fill the disk of an existing folder."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE > free:
        raise DownloadError(
            f"{what} needs {decimal(needed)} more, and only {decimal(free)} are free",
            where=folder,
            remedy="free some space, or name a folder on another disk with --data-root or --weights",
        )


# --- what has arrived -------------------------------------------------------------------------------------------------


class _Part:
    """What has arrived of a file so far, with its hashes. Its file is open and locked against other processes.

    total, validator: the size and the version that the server told when this part was begun.
    resumed: whether it is put together from more than one answer.
    """

    total: int | None

    def __init__(self, place: Path, remote: Remote, file: IO[bytes]) -> None:
        self.place, self._file = place, file
        self._path, self._note = _part_of(place), place.with_name(f"{place.name}.part.json")
        self._identity = remote.sha256 or remote.md5 or remote.url
        self._reset()
        told = _read_object(self._note)
        if told.get("identity") != self._identity:
            self.restart()
            return
        self.total, self.validator = _whole(told.get("total")), _plain(told.get("validator"))
        file.seek(0)
        while chunk := file.read(CHUNK):
            self._count(chunk)
        self.resumed = self.bytes > 0

    def _reset(self) -> None:
        self.bytes, self.resumed = 0, False
        self.total, self.validator = None, ""
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def restart(self) -> None:
        """Forget what has arrived."""
        self._file.truncate(0)
        self._reset()

    def remember(self, total: int | None, validator: str) -> None:
        """What begins now is of this version."""
        self.total, self.validator = total, validator
        self._note.write_text(json.dumps({"identity": self._identity, "total": total, "validator": validator}))

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._file.flush()
        self._count(chunk)

    def _count(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        self._md5.update(chunk)
        self.bytes += len(chunk)

    def difference(self, remote: Remote) -> str | None:
        """How it is not what was published; None where it is."""
        for what, published, found in (
            ("bytes", remote.bytes, self.bytes),
            ("sha256", remote.sha256, self._sha256.hexdigest()),
            ("md5", remote.md5, self._md5.hexdigest()),
        ):
            if published is not None and found != published:
                return f"{what} is {found}, published is {published}"
        return None

    def finish(self) -> Arrived:
        """Give it its name."""
        os.fsync(self._file.fileno())
        self._path.rename(self.place)
        self._note.unlink(missing_ok=True)
        return Arrived(self.bytes, self._sha256.hexdigest())

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


@contextmanager
def _open_part(place: Path, remote: Remote) -> Iterator[_Part]:
    """The part of a file, for this process alone. Errors of the disk become errors with a remedy."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _part_of(place).open("a+b") as file:
            claim(file, place, DownloadError, "another process is downloading this file")
            if os.path.lexists(place):  # also what another process has just finished
                _part_of(place).unlink(missing_ok=True)
                raise DownloadError("there is a file already", where=place, remedy="move it away to download it again")
            part = _Part(place, remote, file)
            try:
                yield part
            finally:
                if not part.bytes:
                    part.discard()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DownloadError(
            f"cannot be written: {error.strerror}",
            where=place,
            remedy="free some space and run the same command again: it goes on where it was"
            if full
            else "name a folder you may write to with --data-root or --weights",
        ) from None


def _part_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")


def _read_object(file: Path) -> dict[str, Any]:
    """A JSON object of a file; empty for anything else, which tells nothing about what has arrived."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _plain(value: object) -> str:
    """A text that may stand in a header; anything else is none."""
    return value if isinstance(value, str) and re.fullmatch(r"[ -~]{1,200}", value) else ""


# --- one request ------------------------------------------------------------------------------------------------------


def _receive(remote: Remote, part: _Part, display: Display) -> None:
    """One request: what is still missing, into the part.

    Raises:
        Passing: it ended too early, or the answer is of no use but another one may be.
        DownloadError: no answer of this server will be of use.
    """
    if part.bytes and part.bytes == (part.total if remote.bytes is None else remote.bytes):
        return
    headers = {}
    if part.bytes:
        headers["Range"] = f"bytes={part.bytes}-"
        # Servers of one network may call one file differently; where a hash will tell, their word is not needed.
        if part.validator and not remote.hashed:
            headers["If-Range"] = part.validator
    try:
        answer = ask(remote.url, remote.token, headers)
    except DownloadError as error:
        if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.restart()
        raise Passing("the server has no such part of the file") from None
    with answer:
        total = _begin(answer, part, remote)
        missing = None if total is None else total - part.bytes
        check_room(part.place.parent, missing or 0, part.place.name)
        display.begin_bytes(part.place.name, missing)
        try:
            while total is None or part.bytes < total:
                chunk = read(answer, CHUNK if total is None else min(CHUNK, total - part.bytes))
                if not chunk:
                    break
                if total is None:
                    check_room(part.place.parent, len(chunk), part.place.name)
                part.write(chunk)
                display.advance(len(chunk))
        finally:
            display.end()
    if total is not None and part.bytes < total:
        raise Passing(f"the connection ended after {decimal(part.bytes)} of {decimal(total)}")


def _begin(answer: http.client.HTTPResponse, part: _Part, remote: Remote) -> int | None:
    """Check that an answer goes on with the part, or begin the part again with it; the size of the whole file."""
    headers = answer.headers
    by_hand = f"open {remote.url} in a browser, save the file, and put it at {part.place}"
    if headers.get_content_type() == "text/html" and part.place.suffix not in (".html", ".htm"):
        raise DownloadError("the server sends a web page instead of the file", where=remote.url, remedy=by_hand)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError("the server sends the file in another encoding", where=remote.url, remedy=by_hand)
    tag = _plain(headers.get("ETag"))
    validator = tag if tag and not tag.startswith("W/") else _plain(headers.get("Last-Modified"))
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        told = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", headers.get("Content-Range", ""))
        same = told and (int(told[1]), int(told[2])) == (part.bytes, part.total)
        if not told or not same or (validator != part.validator and not remote.hashed):
            part.restart()
            raise Passing("the file on the server has changed")
        part.resumed = True
        return part.total
    if part.bytes:
        part.restart()
    length = headers.get("Content-Length", "")
    total = int(length) if re.fullmatch(r"\d{1,18}", length) else remote.bytes
    if remote.bytes is not None and total != remote.bytes:
        what = f"not the published {part.place.name}: {remote.bytes:,} bytes are published, the server has {total:,}"
        raise DownloadError(what, where=remote.url, remedy="compare with the publisher's page, then correct the card")
    if total is None and not remote.hashed and not answer.chunked:
        what = "the server does not say how long the file is, so a cut one could not be told"
        raise DownloadError(what, where=remote.url, remedy=by_hand)
    part.remember(total, validator)
    return total
