"""What the readers share: finding places, reading protocols with line numbers, keeping paths inside the corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from bench.corpora.tables import Lines
from bench.errors import Blocked, DataError
from bench.shards import shard_of
from bench.shards.storage import present
from bench.trials import (
    AUDIO_SUFFIXES,
    in_one_chunk,
    pieces,
    trial_ids,
)

R = TypeVar("R", bound=Callable[..., pd.DataFrame])

About: TypeAlias = "Callable[[pd.DataFrame, Mapping[str, Any]], list[str]]"


class Mark(NamedTuple):
    """What `reader` says of a reader."""

    own_files: bool
    about: About | None


READERS: dict[Callable[..., pd.DataFrame], Mark] = {}


def reader(*, own_files: bool = False, about: About | None = None) -> Callable[[R], R]:
    """Marks a function as a corpus reader. A card is data from strangers: what it names is not called without the mark.

    own_files: the files are the user's own and may change under their names, so that size and time are part of a key.
    about: from the trials that were read and the card's arguments, sentences on what the list holds, where its name
        does not tell; they go with every result.
    """

    def mark(function: R) -> R:
        READERS[function] = Mark(own_files, about)
        return function

    return mark


# --- places ---------------------------------------------------------------------------------------------------------


def under(root: Path, places: Iterable[str], *levels: Iterable[str]) -> list[Path]:
    """Every combination of a place below `root` and one name of each level ('' = level absent), in order, each once."""
    return list(dict.fromkeys(root.joinpath(*parts) for parts in product(places, *levels)))


def first(candidates: Sequence[Path], what: str) -> Path:
    """The first candidate that exists, as a file or as a folder.

    Raises:
        Blocked: none does; the error lists every candidate.
    """
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise absent(what, candidates)


def absent(what: str, candidates: Sequence[Path]) -> Blocked:
    """The error for something that is at none of the places where it was searched."""
    searched = "".join(f"\n    {candidate}" for candidate in candidates)
    return Blocked(f"{what} is not here", where=f"searched{searched}", remedy=f"it belongs at {candidates[0]}")


def names_in(folder: Path) -> list[str]:
    """The names in a folder, none where it does not exist.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"the folder cannot be listed: {error.strerror}", where=folder) from error


def locate(ids: pd.Series, folders: Sequence[Path], suffixes: Sequence[str]) -> list[str]:
    """The audio file of each trial; where there is none, the place where it is expected.

    Args:
        ids: file names without suffix, already known to be plain names.
        folders: where to look, in this order; those that do not exist are passed over.
        suffixes: what audio files end in, in this order.

    A missing file is expected beside the first one that was found, else in the first folder, with the first suffix.
    Folders are listed once each: asking for 600,000 files one by one takes minutes on a network drive.
    """
    home: dict[str, str] = {}
    for folder in reversed(folders):
        home.update(dict.fromkeys(names_in(folder), f"{folder}/"))

    def find(trial: str) -> str | None:
        for suffix in suffixes:
            folder = home.get(trial + suffix)
            if folder is not None:
                return folder + trial + suffix
        return None

    trials = ids.tolist()
    paths = [find(trial) for trial in trials]
    found = next(filter(None, paths), None)
    expected = found.rpartition("/")[0] if found else folders[0]
    return [path or f"{expected}/{trial}{suffixes[0]}" for path, trial in zip(paths, trials, strict=True)]


def audio_files(folder: Path) -> list[str]:
    """Audio files below a folder as relative paths with `/`, sorted. Hidden ones are left out, links are followed.

    Raises:
        DataError: a name that is not UTF-8: no table of results could hold it.
    """
    seen = set()
    found: list[str] = []
    for place, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link to a folder above would never end.
        below[:] = [] if real in seen else [name for name in below if not name.startswith(".")]
        if real not in seen:
            prefix = place[len(str(folder)) :].replace(os.sep, "/").lstrip("/")
            audio = (name for name in names if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."))
            found.extend(f"{prefix}/{name}".lstrip("/") for name in audio)
        seen.add(real)
    strange = [name for name in found if name.encode(errors="replace").decode() != name]
    if strange:
        raise DataError(f"the file name {strange[0]!r} is not UTF-8", where=folder, remedy="rename the file")
    return sorted(found)


def missing(paths: Iterable[str]) -> list[int]:
    """Positions of the paths at which there is no file. Folders are listed once each, files not asked one by one.

    What is packed is missing where its shard is; a pack, too, is listed once.

    Raises:
        DataError: the remote store of a pack does not answer.
    """
    listed: dict[str, set[str]] = {}
    packed: dict[str, list[int]] = {}
    absent = []
    for position, path in enumerate(paths):
        if (shard := shard_of(path)) is not None:
            packed.setdefault(shard, []).append(position)
            continue
        folder, _, name = path.rpartition("/")
        if folder not in listed:
            listed[folder] = _files_in(folder or "/")
        if name not in listed[folder]:
            absent.append(position)
    there = present(list(packed))
    return sorted(absent + [at for shard, positions in packed.items() if shard not in there for at in positions])


def _files_in(folder: str) -> set[str]:
    """Names of the files in a folder. A link without a target is none: large-file tools mark so what is not here."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def plain_names(names: pd.Series, file: Path, lines: Lines) -> pd.Series:
    """`names`, each of which is a file's name and no path to somewhere else.

    Raises:
        DataError: no name, a name with a slash or a backslash, `.` or `..`.
    """
    wrong = (names.str.contains(r"[/\\]", regex=True) | names.isin(["", ".", ".."])).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{names.iloc[row]!r} is not a plain file name",
            where=file,
            line=int(lines[row]),
            remedy="names in this list have no folder: take the list of the original release",
        )
    return names


def inside(names: pd.Series, roots: Sequence[Path], file: Path, lines: Lines) -> tuple[pd.Series, pd.Series]:
    """Paths that a list names: in full, and relative to the root that holds them, without audio suffix (the trial id).

    Relative names are relative to the first root. A name may use `/` or `\\`, may be absolute and may climb with `..`
    as long as it ends inside one of the roots. Links in it are not resolved: they are the user's, not the list's.

    Raises:
        DataError: an empty name, or one that leads outside all roots.
    """
    spellings = [str(spelling) for root in roots for spelling in (root.absolute(), root.resolve())]
    bases = list(dict.fromkeys(os.path.normpath(spelling).rstrip("/") + "/" for spelling in spellings))
    found = in_one_chunk(pd.concat([_placed(names.iloc[piece], bases) for piece in pieces(len(names))]))
    wrong = (found["trial"] == "").to_numpy() | (names == "").to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        name = names.iloc[row]
        raise DataError(
            f"{name!r} leads outside the corpus" if name else "empty file name",
            where=file,
            line=int(lines[row]),
            remedy=f"name files inside {' or '.join(bases)}" if name else "name the file, or remove the row",
        )
    return found["path"], found["trial"]


def _placed(names: pd.Series, bases: Sequence[str]) -> pd.DataFrame:
    """Names as full paths (`path`), and the ids (`trial`) that they have below the first base that holds them, '' where
    none does. Bases end with `/`."""
    places = names.str.replace("\\", "/", regex=False)
    places = places.where(places.str.startswith("/"), bases[0] + places)
    crooked = places.str.contains(r"/\.{0,2}(?:/|$)", regex=True)
    places[crooked] = np.array([os.path.normpath(place) for place in places[crooked]], dtype=object)
    below = pd.Series("", index=names.index, dtype="str")
    for base in reversed(bases):
        below = below.mask(places.str.startswith(base), places.str.removeprefix(base))
    return pd.DataFrame({"path": places, "trial": trial_ids(below)})
