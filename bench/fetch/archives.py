"""Unpacking zip, tar and tar.gz files of strangers.

Everything is unpacked into a folder of its own beside the place, and moved there when the whole archive has been read:
nothing of an archive that is refused, or cut short, is ever where a reader looks. What is there already, or was
unpacked before a kill, is not written again.

Names are checked, links and devices are refused altogether (a corpus has none), modes and owners are ignored. No file
becomes longer than the archive declares, and what it declares has to fit on the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from bench.errors import DataError
from bench.fetch.download import check_room
from bench.locks import claim
from bench.progress import Display

CHUNK = 1 << 20
MOST_FILES = 5_000_000
LONGEST_HEADER = 16 << 20  # of a tar: pax headers are read into memory whole
LONGEST_END = 64 << 20  # zeros that may follow a tar


class Member(NamedTuple):
    """A file in an archive: its path (relative, checked), its declared size, and how to read it."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


class _Content(NamedTuple):
    """An open archive. `sizes` are known before reading only of a zip; `position` counts bytes of the archive."""

    members: Iterator[Member]
    sizes: Mapping[PurePosixPath, int]
    position: Callable[[], int]


def unpack(archive: Path, folder: Path, display: Display) -> int:
    """Unpack an archive into a folder; the number of its files. Files of the same size that are there are left alone.

    Raises:
        DataError: no archive, a damaged one, one that wants to write elsewhere or what no corpus holds, one whose files
            are here with another size; another process is unpacking it.
        DownloadError: it does not fit on the disk.
    """
    staging = folder / f".{archive.name}.unpacking"
    try:
        with _reading(archive) as content:
            staging.mkdir(parents=True, exist_ok=True)
            display.begin_bytes(f"unpacking {archive.name}", archive.stat().st_size)
            try:
                count = _stage(content, archive, folder, staging, display)
            finally:
                display.end()
            _merge(staging, folder)
    except _Refused:
        shutil.rmtree(staging, ignore_errors=True)  # nothing of it may be taken for a part of another archive
        raise
    return count


def _stage(content: _Content, archive: Path, folder: Path, staging: Path, display: Display) -> int:
    """Unpack into the staging folder what is not here yet; the number of files in the archive."""
    what, before = f"unpacking {archive.name}", 0
    here = {path: _is_there(path, size, folder, staging, archive) for path, size in content.sizes.items()}
    check_room(folder, sum(size for path, size in content.sizes.items() if not here[path]), what)
    for member in content.members:
        if member.path not in here:
            here[member.path] = _is_there(member.path, member.size, folder, staging, archive)
        if not here[member.path]:
            check_room(folder, member.size, what)
            _write(member, staging / member.path, archive)
        display.advance(content.position() - before)
        before = content.position()
    if not here:
        raise _refused(archive, "it is empty")
    return len(here)


def take(archive: Path, member: str, place: Path) -> str:
    """Write one file of an archive to `place`; its sha256.

    Raises:
        DataError: as `unpack`, and where the archive has no such file.
        DownloadError: it does not fit on the disk.
    """
    seen = []
    with _reading(archive) as content:
        for found in content.members:
            if str(found.path) == member:
                place.parent.mkdir(parents=True, exist_ok=True)
                check_room(place.parent, found.size, place.name)
                return _write(found, place, archive)
            seen.append(str(found.path))
    listed = ", ".join(seen[:5]) + (", …" if len(seen) > 5 else "")
    raise DataError(f"no {member} in the archive", where=archive, remedy=f"correct the card; in it are {listed}")


def _is_there(path: PurePosixPath, size: int, folder: Path, staging: Path, archive: Path) -> bool:
    """Whether a file of the archive is in its place, or unpacked beside it, whole.

    Raises:
        DataError: in its place is something else, which is not ours to replace.
    """
    try:
        here = (folder / path).stat()
    except FileNotFoundError:
        here = None
    except NotADirectoryError:
        raise _in_the_way(folder / path, archive) from None
    if here is not None:
        if not stat.S_ISREG(here.st_mode) or here.st_size != size:
            raise _in_the_way(folder / path, archive)
        return True
    try:
        return (staging / path).stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False


def _in_the_way(place: Path, archive: Path) -> DataError:
    return DataError(
        f"{archive.name} has another file for a place that is taken",
        where=place,
        remedy="move away what is there (a file cut short by an earlier unpacking?), and run the same command again",
    )


def _write(member: Member, place: Path, archive: Path) -> str:
    """Write exactly the declared size; the sha256 of it."""
    hashed, left = hashlib.sha256(), member.size
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("wb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _refused(archive, f"{member.path} is a file and a folder in it") from None
    with file, member.open() as source:
        while chunk := source.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            hashed.update(chunk)
            file.write(chunk)
    if left:
        raise _refused(archive, f"{member.path} is {'shorter' if left > 0 else 'longer'} than declared")
    return hashed.hexdigest()


def _merge(source: Path, target: Path) -> None:
    """Move what is in one folder into another, whose files are known not to be in the way."""
    for entry in list(source.iterdir()):
        place = target / entry.name
        if place.is_dir():
            _merge(entry, place)
        else:
            entry.rename(place)
    source.rmdir()


# --- reading ----------------------------------------------------------------------------------------------------------


@contextmanager
def _reading(archive: Path) -> Iterator[_Content]:
    """An archive open for this process alone. Whatever a damaged one makes its library stumble over is one error."""
    try:
        with archive.open("rb") as raw:
            claim(raw, archive, DataError, "another process is unpacking this archive")
            head = raw.read(262)
            raw.seek(0)
            if head.startswith(b"PK"):
                with zipfile.ZipFile(raw) as opened:
                    yield _zip(opened, archive)
            elif head.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=raw) as inflated:
                    yield _tar(inflated, raw, archive)
            elif head[257:] == b"ustar":
                yield _tar(raw, raw, archive)
            else:
                raise _refused(archive, "it is neither zip nor tar nor tar.gz")
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise _refused(archive, f"it is damaged: {error}") from None
    except (NotImplementedError, RuntimeError) as error:  # zipfile: of an unknown compression, of an encrypted file
        raise _refused(archive, str(error)) from None
    except OSError as error:
        raise DataError(
            f"cannot be unpacked: {error.strerror or error}",
            where=error.filename or archive,
            remedy="name a folder you may write to with --data-root, or free some space",
        ) from None


def _zip(opened: zipfile.ZipFile, archive: Path) -> _Content:
    infos: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        path = _checked(info.filename, info.is_dir(), archive)
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, f"{path} in it is a link or a device")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(archive, f"{path} in it is encrypted, or compressed in a way that is not read here")
        if not info.is_dir() and infos.setdefault(path, info).file_size != info.file_size:
            raise _refused(archive, f"{path} is in it twice, with different sizes")
    done = 0

    def members() -> Iterator[Member]:
        nonlocal done
        for path, info in infos.items():
            done += info.compress_size
            yield Member(path, info.file_size, partial(opened.open, info))

    _check_count(len(infos), archive)
    return _Content(members(), {path: info.file_size for path, info in infos.items()}, lambda: done)


class _Blocks:
    """What tarfile reads from. It bounds the memory of a header, and remembers the last one.

    tarfile takes damage of a header, and the end of the file, for the end of the archive; a whole one ends in zeros.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.tell, self.seek = stream.tell, stream.seek
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > LONGEST_HEADER:
            raise tarfile.ReadError("a header of many megabytes")
        block: bytes = self._stream.read(size)
        if size == tarfile.BLOCKSIZE:
            self.last = block
        return block


def _tar(stream: Any, raw: IO[bytes], archive: Path) -> _Content:
    blocks = _Blocks(stream)
    opened = tarfile.open(fileobj=blocks, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115, the file is the caller's

    def members() -> Iterator[Member]:
        sizes: dict[PurePosixPath, int] = {}
        while (info := opened.next()) is not None:
            opened.members.clear()  # else it keeps all of them
            path = _checked(info.name, info.isdir(), archive)
            if info.isdir():
                continue
            if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse() or info.size < 0:
                raise _refused(archive, f"{path} in it is a link, a device, or a file with holes")
            if sizes.setdefault(path, info.size) != info.size:
                raise _refused(archive, f"{path} is in it twice, with different sizes")
            _check_count(len(sizes), archive)
            yield Member(path, info.size, partial(_opened_in, opened, info))
        if blocks.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends too early, or a header is broken")
        _check_end(stream)

    return _Content(members(), {}, raw.tell)


def _opened_in(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = opened.extractfile(info)
    assert file is not None, info.name  # of a regular file it never is
    return file


def _check_end(stream: Any) -> None:
    """Read what follows a tar: zeros, and in a gzip file the checksum of everything before."""
    for _ in range(LONGEST_END // CHUNK):
        if not (chunk := stream.read(CHUNK)):
            return
        if chunk.strip(b"\0"):
            break
    raise tarfile.ReadError("there is something behind its end")


_STRANGE = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")


def _checked(name: str, is_folder: bool, archive: Path) -> PurePosixPath:
    """The path of a file in an archive, which leads nowhere but below the folder it is unpacked to."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or _STRANGE.search(name) or not (parts or is_folder):
        raise _refused(archive, f"it would write to {name!r:.200}")
    if name.encode(errors="replace").decode() != name:
        raise _refused(archive, f"the name {name!r:.200} is not UTF-8")
    return PurePosixPath(*parts)


def _check_count(count: int, archive: Path) -> None:
    if count > MOST_FILES:
        raise _refused(archive, f"it has more than {MOST_FILES:,} files")


class _Refused(DataError):
    """An archive that is not what it should be."""


def _refused(archive: Path, why: str) -> _Refused:
    return _Refused(
        f"{archive.name} is not unpacked: {why}",
        where=archive,
        remedy="delete it and download it again; if it stays so, tell its publisher",
    )
