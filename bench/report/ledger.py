"""What a site was made of: the file that lets the next build keep what has not changed, and delete what is gone.

    site/.bench-site.json     for every page a fingerprint of all that it was made of, and its files: sha256 and size

A folder with this file is a site of ours. A ledger that is damaged keeps no page, so all are made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import StoreError, UsageError
from bench.files import atomically, explained
from bench.report.tables import Files

FILE = ".bench-site.json"
VERSION = 1


class Stored(BaseModel):
    """A file of the site: sha256 (hex) and size in bytes."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sha256: str
    size: int


class Page(BaseModel):
    """A page and what lies beside it. made_of: sha256 (hex) of all that it was made of. files: by path in the site."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    made_of: str
    files: dict[str, Stored]


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    version: int
    made_of: str
    pages: dict[str, Page]


@dataclass(frozen=True)
class Ledger:
    """The site in a folder. made_of: sha256 (hex) of all that any page was made of, '' for none. pages: by path."""

    made_of: str = ""
    pages: Mapping[str, Page] = field(default_factory=dict)

    def intact(self, out: Path) -> Mapping[str, Page]:
        """The pages whose files are all as they were written."""
        return {path: page for path, page in self.pages.items() if all(_is(out, *item) for item in page.files.items())}

    def files(self) -> set[str]:
        """The paths of all files."""
        return {file for page in self.pages.values() for file in page.files}

    def write(self, out: Path) -> None:
        """Raises StoreError: it cannot be written."""
        told = _Document(version=VERSION, made_of=self.made_of, pages=dict(sorted(self.pages.items())))
        with _writing():
            atomically(out / FILE, lambda part: part.write_text(told.model_dump_json(indent=0) + "\n", "utf-8"))


def opened(out: Path) -> Ledger:
    """The ledger of the folder that a site is to be written into; a folder that is new or empty gets one without pages.

    Files whose names begin with a dot do not count as anything in it: `.git`, `.nojekyll`.

    Raises:
        UsageError: a file, or a folder that holds something else.
        StoreError: it cannot be read or written.
    """
    try:
        found = sorted(place.name for place in out.iterdir())
    except FileNotFoundError:
        found = []
    except NotADirectoryError:
        raise UsageError("a site needs a folder, this is a file", where=out, remedy="choose another --out") from None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=out, remedy="choose another --out") from None
    if FILE in found:
        return _read(out)
    if foreign := [name for name in found if not name.startswith(".")]:
        raise UsageError(
            f"this folder holds something that is no site of `bench report`: {foreign[0]}",
            where=out,
            remedy="choose a new or empty folder with --out, or empty this one",
        )
    ledger = Ledger()
    ledger.write(out)
    return ledger


def _read(out: Path) -> Ledger:
    try:
        document = _Document.model_validate_json((out / FILE).read_bytes())
    except ValidationError:
        return Ledger()
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=out / FILE, remedy="choose another --out") from None
    found = Ledger(document.made_of, document.pages)
    return found if document.version == VERSION and all(map(_inside, found.files())) else Ledger()


def _inside(file: str) -> bool:
    """Whether a path names a file below the site, however it is read: a ledger may have been tampered with."""
    path = PurePosixPath(file)
    return (
        bool(path.parts)
        and str(path) == file
        and not path.is_absolute()
        and ".." not in path.parts
        and not set(file) & set("\\:\0")
    )


def stored(out: Path, files: Files) -> dict[str, Stored]:
    """Write the files of a page, each whole or not at all, and the page after what it links to.

    Raises:
        StoreError: one cannot be written.
    """
    with _writing():
        for path in sorted(files, key=lambda path: path.endswith(".html")):
            atomically(out / path, partial(_put, content=files[path]))
    return {path: Stored(sha256=hashlib.sha256(files[path]).hexdigest(), size=len(files[path])) for path in files}


def _put(place: Path, content: bytes) -> None:
    place.write_bytes(content)


def swept(out: Path, gone: Iterable[str]) -> None:
    """Delete files of the site, and folders that are empty then. What leads out of `out` by a link is left alone.

    Raises:
        StoreError: one cannot be deleted.
    """
    root = out.resolve()
    for file in sorted(gone):
        place = out / file
        if not place.parent.resolve().is_relative_to(root):
            continue
        with _writing(), explained(place):
            place.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            for folder in PurePosixPath(file).parents[:-1]:
                (out / folder).rmdir()


@contextmanager
def _writing() -> Iterator[None]:
    """What `bench.files` says of the results folder, said of this one."""
    try:
        yield
    except StoreError as error:
        remedy = (error.remedy or "").replace("--results", "--out")
        raise StoreError(f"the site: {error.what}", where=error.where, remedy=remedy) from error


def _is(out: Path, file: str, told: Stored) -> bool:
    try:
        place = out / file
        return place.stat().st_size == told.size and hashlib.sha256(place.read_bytes()).hexdigest() == told.sha256
    except OSError:
        return False
