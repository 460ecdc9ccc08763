"""Unpacking: exactly what is in an archive, exactly where it belongs, or nothing at all."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import itertools
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import DataError, DownloadError
from bench.fetch import archives
from bench.fetch.archives import take, unpack
from bench.fetch.download import SPARE
from bench.progress import Silent

FILES = {"LA/README.txt": b"read me", "LA/flac/a.flac": b"a" * 3_000, "LA/flac/b.flac": bytes(70_000), "top.csv": b""}
KINDS = ["zip", "tar", "tar.gz"]


def pack(place: Path, files: Mapping[str, bytes] = FILES, **options: Any) -> Path:
    """An archive of the kind that its name says."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as packed:
            for name, content in files.items():
                packed.writestr(name, content)
    else:
        entries = [(name, content, tarfile.REGTYPE) for name, content in files.items()]
        place.write_bytes(tarred(*entries, gzipped=place.suffix == ".gz"))
    return place


def tarred(*entries: tuple[str, bytes, bytes], gzipped: bool = False, **fields: Any) -> bytes:
    """A tar of entries of any type, with whatever names."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz" if gzipped else "w", format=tarfile.PAX_FORMAT) as packed:
            for name, content, kind in entries:
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = kind, len(content), fields.get("linkname", "")
                packed.addfile(info, io.BytesIO(content))
        return file.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refusal(archive: Path, folder: Path) -> DataError:
    """The error of an archive of which nothing is left behind."""
    before = tree(folder.parent)
    with pytest.raises(DataError) as caught:
        unpack(archive, folder, Silent())
    assert tree(folder.parent) == before
    assert not list(folder.glob("*"))
    assert caught.value.remedy
    return caught.value


class Counter(Silent):
    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def begin_bytes(self, what: str, total: int | None) -> None:
        assert total is not None
        self.total += total

    def advance(self, count: int) -> None:
        self.done += count


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "asvspoof2019"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_unpacked(kind: str, tmp_path: Path, folder: Path) -> None:
    """Every file with its content, nothing beside them, and the archive stays as it is."""
    archive = pack(tmp_path / f"LA.{kind}")
    before = archive.read_bytes()
    display = Counter()
    assert unpack(archive, folder, display) == len(FILES)
    assert tree(folder) == FILES
    assert sorted(path.name for path in folder.iterdir()) == ["LA", "top.csv"]
    assert archive.read_bytes() == before
    assert display.total == len(before)
    assert 0 < display.done <= display.total


LETTERS = st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["C"])
PART = st.text(LETTERS, min_size=1, max_size=9)
DRIVE = re.compile("[A-Za-z]:")
NAMES = st.lists(PART.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map("/".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(NAMES, st.binary(max_size=600), min_size=1, max_size=6), kind=st.sampled_from(KINDS))
def test_what_the_standard_tools_pack_is_unpacked(files: dict[str, bytes], kind: str, tmp_path: Path) -> None:
    """Any names, any contents; where a name is a file and a folder, or a drive of another system, it is refused."""
    paths = [PurePosixPath(name) for name in files]
    folders = {parent for path in paths for parent in path.parents}
    strange = any(DRIVE.match(str(path)) for path in paths)
    work = tmp_path / "work"
    try:
        archive, folder = pack(work / f"x.{kind}", files), work / "data"
        if folders & set(paths) or strange:
            with pytest.raises(DataError):
                unpack(archive, folder, Silent())
        else:
            unpack(archive, folder, Silent())
            assert tree(folder) == files
    finally:
        shutil.rmtree(work)


UNSAFE = [
    "../evil",
    "LA/../../evil",
    "LA/flac/../a.flac",
    "/evil",
    "//evil",
    "..",
    "C:/evil",
    "c:evil",
    "LA\\..\\evil",
    "evil\n.flac",
    "evil\x1b[2J",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", UNSAFE)
def test_no_name_leads_elsewhere(name: str, kind: str, tmp_path: Path, folder: Path) -> None:
    """The whole archive is refused, the files before it included; the name is told without obeying it."""
    error = refusal(pack(tmp_path / f"LA.{kind}", {**FILES, name: b"evil", "later": b""}), folder)
    assert error.what == f"LA.{kind} is not unpacked: it would write to {name!r}"
    assert not list(tmp_path.rglob("*evil*"))


@given(name=st.text(max_size=30), is_folder=st.booleans())
def test_a_checked_name_is_below_the_folder(name: str, is_folder: bool) -> None:
    """Whatever the name: it is refused, or normalisation leaves it below any folder, as a real path of it."""
    try:
        path = archives._checked(name, is_folder, Path("x.zip"))
    except DataError:
        return
    assert not path.is_absolute() and ".." not in path.parts
    assert os.path.normpath(f"/some/folder/{path}").startswith("/some/folder")
    assert is_folder or path.parts
    assert str(path).encode()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["/etc", "../..", "LA/README.txt"])
def test_links_and_devices_are_refused(kind: bytes, target: str, tmp_path: Path, folder: Path) -> None:
    """Wherever they lead: what is written through one later would be written there."""
    entries = [("LA/README.txt", b"x", tarfile.REGTYPE), ("LA/flac", b"", kind), ("LA/flac/a", b"x", tarfile.REGTYPE)]
    archive = tmp_path / "LA.tar.gz"
    archive.write_bytes(tarred(*entries, gzipped=True, linkname=target))
    assert "LA/flac in it is a link, a device, or a file with holes" in refusal(archive, folder).what


def test_a_link_in_a_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    """As in a tar."""
    archive = tmp_path / "LA.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        info = zipfile.ZipInfo("LA/flac")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc")
    assert "LA/flac in it is a link or a device" in refusal(archive, folder).what


def test_modes_and_owners_are_ours(tmp_path: Path, folder: Path) -> None:
    """No program, nothing that runs as somebody else."""
    archive = tmp_path / "LA.tar"
    with tarfile.open(archive, "w") as packed:
        info = tarfile.TarInfo("run.sh")
        info.mode, info.uid, info.size = 0o6777, 4321, 2
        packed.addfile(info, io.BytesIO(b"#!"))
    unpack(archive, folder, Silent())
    found = (folder / "run.sh").stat()
    assert (found.st_mode & 0o7111, found.st_uid) == (0, os.getuid())


# Bombs


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_on_the_disk_is_not_begun(
    kind: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes are declared; a zip declares all of them at once, a tar each before the file."""
    archive = pack(tmp_path / f"LA.{kind}", {"small": bytes(10), "large": bytes(2_000_000)})
    assert kind == "tar" or archive.stat().st_size < 5_000
    free = SPARE + 1_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))
    with pytest.raises(DownloadError) as caught:
        unpack(archive, folder, Silent())
    assert caught.value.what == f"unpacking LA.{kind} needs 2.0 MB more, and only 68.1 MB are free"
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 10


def test_a_zip_that_lies_about_a_size(tmp_path: Path, folder: Path) -> None:
    """No more than declared is written, and the checksum tells that it is not the file."""
    archive = pack(tmp_path / "LA.zip", {"a": bytes(1_000_000)})
    content = archive.read_bytes()
    assert content.count((1_000_000).to_bytes(4, "little")) == 2
    archive.write_bytes(content.replace((1_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little")))
    assert "LA.zip is not unpacked: it is damaged: Bad CRC-32" in refusal(archive, folder).what


def test_a_header_of_gigabytes_is_not_read_into_memory(tmp_path: Path, folder: Path) -> None:
    """A few kilobytes of gzip can be a pax header of any size."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    archive = tmp_path / "LA.tar.gz"
    archive.write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)))
    assert refusal(archive, folder).what == "LA.tar.gz is not unpacked: it is damaged: a header of many megabytes"


def test_an_archive_of_too_many_files(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files fill no disk and still take its last name."""
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    for kind in KINDS:
        assert refusal(pack(tmp_path / f"LA.{kind}"), folder).what.endswith("it has more than 3 files")


# Damage


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_archive_is_refused(kind: str, tmp_path: Path, folder: Path) -> None:
    """Wherever it was cut, between two files too: a part of a corpus never passes for all of it."""
    whole = pack(tmp_path / f"LA.{kind}").read_bytes()
    cut = tmp_path / "cut" / f"LA.{kind}"
    cut.parent.mkdir()
    used = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole) - 1
    between = set()
    if kind == "tar":
        with tarfile.open(tmp_path / "LA.tar") as packed:
            between = {info.offset for info in packed}
    for length in {*range(0, used, 1_021), *between, used}:
        cut.write_bytes(whole[:length])
        assert f"LA.{kind} is not unpacked: " in refusal(cut, folder).what, length


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_changed_byte_is_noticed(kind: str, tmp_path: Path, folder: Path) -> None:
    """By the checksums of the archive, or by what the byte stood for. (A tar has none over its contents.)"""
    random = bytes(hashlib.sha256(bytes([n])).digest()[0] for n in range(256)) * 4
    whole = pack(tmp_path / f"LA.{kind}", {"a.flac": random, "b.flac": random[::-1]}).read_bytes()
    archive = tmp_path / "changed" / f"LA.{kind}"
    archive.parent.mkdir()
    for at in range(60, len(whole) // 2, 37):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            unpack(archive, folder, Silent())
        except DataError:
            assert not list(folder.glob("*"))
        else:
            assert tree(folder) == {"a.flac": random, "b.flac": random[::-1]}  # a time stamp
            shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("LA.zip", b"<html>Click here</html>", "it is neither zip nor tar nor tar.gz"),
        ("LA.zip", b"", "it is neither zip nor tar nor tar.gz"),
        ("LA.zip", b"PK\x03\x04" + bytes(100), "it is damaged: File is not a zip file"),
        ("LA.tar.gz", b"\x1f\x8b" + bytes(100), "it is damaged: Unknown compression method"),
        ("LA.tar.gz", gzip.compress(b"no tar" * 100, mtime=0), "it is damaged: invalid header"),
        ("LA.tar.gz", gzip.compress(tarred() + b"more", mtime=0), "it is damaged: there is something behind its end"),
        ("LA.tar.gz", gzip.compress(tarred(), mtime=0), "it is empty"),
    ],
)
def test_what_is_no_archive_is_told(name: str, content: bytes, why: str, tmp_path: Path, folder: Path) -> None:
    """By what is in it, not by its name."""
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name, folder)
    assert error.what.startswith(f"{name} is not unpacked: {why}")
    assert error.where == str(tmp_path / name)


def test_an_archive_that_is_not_there(tmp_path: Path, folder: Path) -> None:
    """Its place is told."""
    with pytest.raises(DataError, match="cannot be unpacked: No such file or directory") as caught:
        unpack(tmp_path / "LA.zip", folder, Silent())
    assert caught.value.where == str(tmp_path / "LA.zip")


def test_a_zip_that_cannot_be_read_is_refused_by_name(tmp_path: Path, folder: Path) -> None:
    """Other compressions than the usual one, and encryption."""
    odd = pack(tmp_path / "odd.zip", compression=zipfile.ZIP_BZIP2)
    assert "LA/README.txt in it is encrypted, or compressed in a way" in refusal(odd, folder).what
    secret = pack(tmp_path / "secret.zip", {"a": b"x"})
    content = bytearray(secret.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    secret.write_bytes(content)
    assert "a in it is encrypted" in refusal(secret, folder).what


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_file_that_is_there_twice(kind: str, tmp_path: Path, folder: Path) -> None:
    """With one size it is one file; with two nobody knows which one is meant."""
    for second, unpacked in ((b"same", True), (b"other one", False)):
        archive = tmp_path / f"{len(second)}.{kind}"
        entries = [("a", b"same", tarfile.REGTYPE), ("./a", second, tarfile.REGTYPE)]
        archive.write_bytes(tarred(*entries, gzipped=kind == "tar.gz"))
        if unpacked:
            assert unpack(archive, folder, Silent()) == 1
            shutil.rmtree(folder)
        else:
            assert "a is in it twice, with different sizes" in refusal(archive, folder).what


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_and_a_folder_of_one_name(kind: str, tmp_path: Path, folder: Path) -> None:
    """Told as a mistake of the archive."""
    for files in ({"a": b"x", "a/b": b"x"}, {"a/b": b"x", "a": b"x"}):
        assert "is a file and a folder in it" in refusal(pack(tmp_path / f"LA.{kind}", files), folder).what


def test_folders_are_no_files(tmp_path: Path, folder: Path) -> None:
    """`./`, which many a tar begins with, and empty folders are passed over."""
    archive = tmp_path / "LA.tar"
    entries = [("./", b"", tarfile.DIRTYPE), ("./LA/", b"", tarfile.DIRTYPE), ("./LA/a", b"x", tarfile.REGTYPE)]
    archive.write_bytes(tarred(*entries))
    assert unpack(archive, folder, Silent()) == 1
    assert tree(folder) == {"LA/a": b"x"}


# Going on, and what is there already


class Killed(Silent):
    """The process ends after so many files."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, count: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_unpacking_is_gone_on_with(
    kind: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is where a reader looks before all of it is; what was written before is not written again."""
    archive = pack(tmp_path / f"LA.{kind}")
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, folder, Killed(after=2))
    assert not list(folder.glob("[!.]*"))
    written: list[str] = []
    real: Callable[..., str] = archives._write

    def spy(member: archives.Member, *rest: Any) -> str:
        written.append(str(member.path))
        return real(member, *rest)

    monkeypatch.setattr(archives, "_write", spy)
    assert unpack(archive, folder, Silent()) == len(FILES)
    assert tree(folder) == FILES
    assert written == list(FILES)[2:]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_by_a_kill_is_written_again(kind: str, tmp_path: Path, folder: Path) -> None:
    """It is shorter than declared."""
    staged = folder / f".LA.{kind}.unpacking" / "LA" / "flac" / "b.flac"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(bytes(69_999))
    unpack(pack(tmp_path / f"LA.{kind}"), folder, Silent())
    assert tree(folder) == FILES


def test_archives_share_a_folder(tmp_path: Path, folder: Path) -> None:
    """As the four parts of ASVspoof 2021 DF do; a kill while files are moved is gone on with too."""
    parts = [{f"DF/flac/{n}.flac": bytes([n]) * n for n in range(start, start + 5)} for start in (0, 5)]
    for number, files in enumerate(parts):
        unpack(pack(tmp_path / f"part{number}.tar.gz", files), folder, Silent())
    assert tree(folder) == parts[0] | parts[1]
    (folder / "DF/flac/7.flac").unlink()
    assert unpack(tmp_path / "part1.tar.gz", folder, Silent()) == 5
    assert tree(folder) == parts[0] | parts[1]


def test_what_the_user_has_there_stays(tmp_path: Path, folder: Path) -> None:
    """A file of the same size is left alone; one of another size, or a folder in its place, is told and not touched."""
    archive = pack(tmp_path / "LA.zip")
    (folder / "LA" / "flac").mkdir(parents=True)
    (folder / "LA" / "flac" / "a.flac").write_bytes(b"b" * 3_000)
    (folder / "mine.txt").write_text("mine")
    unpack(archive, folder, Silent())
    assert tree(folder) == {**FILES, "LA/flac/a.flac": b"b" * 3_000, "mine.txt": b"mine"}
    for change in ("shorter", "folder", "above"):
        place = folder / "LA" / "flac" / "a.flac"
        if change == "shorter":
            place.write_bytes(b"short")
        elif change == "folder":
            place.unlink()
            place.mkdir()
        else:
            shutil.rmtree(place.parent)
            place.parent.write_text("a file")
        before = tree(folder)
        with pytest.raises(DataError, match=r"LA\.zip has another file for a place that is taken") as caught:
            unpack(archive, folder, Silent())
        assert caught.value.where == str(place)
        assert {name: file for name, file in tree(folder).items() if not name.startswith(".")} == before


def test_two_processes_do_not_unpack_one_archive(tmp_path: Path, folder: Path) -> None:
    """The second one is told so."""
    archive = pack(tmp_path / "LA.zip")
    with archive.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert refusal(archive, folder).what == "another process is unpacking this archive"


# Single members


@pytest.mark.parametrize("kind", KINDS)
def test_one_file_of_an_archive(kind: str, tmp_path: Path) -> None:
    """Under its own name elsewhere, with its hash; the rest stays packed."""
    place = tmp_path / "weights" / "net.pth"
    assert take(pack(tmp_path / f"LA.{kind}"), "LA/flac/a.flac", place) == hashlib.sha256(b"a" * 3_000).hexdigest()
    assert tree(place.parent) == {"net.pth": b"a" * 3_000}


def test_a_file_that_is_not_in_the_archive(tmp_path: Path) -> None:
    """What is in it is told, as far as it helps."""
    files = dict(zip(map(str, range(7)), itertools.repeat(b"x"), strict=False))
    with pytest.raises(DataError, match=r"no a\.flac in the archive") as caught:
        take(pack(tmp_path / "LA.zip", files), "a.flac", tmp_path / "net.pth")
    assert caught.value.remedy == "correct the card; in it are 0, 1, 2, 3, 4, …"
    assert not (tmp_path / "net.pth").exists()
