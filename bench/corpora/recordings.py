"""Recordings that are mixed into training audio: noise, and the impulse responses of rooms. Not meant to be scored.

Every audio file below some folders of an archive is one, all of them labelled bona fide: nothing in them is a spoof.
The trial id is the path below the archive without audio suffix.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from bench.corpora.files import absent, audio_files, names_in, reader, under
from bench.errors import DataError
from bench.trials import AUDIO_SUFFIXES, BONAFIDE, trial_id, validate


@reader()
def read(root: Path, *, places: Sequence[str], folders: Sequence[str], without: Sequence[str] = ()) -> pd.DataFrame:
    """The recordings of an archive, or of a plain folder of the user's own.

    Args:
        root: the data root, or with `--data NAME=FOLDER` a folder that holds audio files itself; then these are the
            recordings, and folders in it are not looked into: a data root would hold whole corpora of speech.
        places: where below the root the archive may be.
        folders: the folders of it that count, all of which must be there.
        without: globs of file names that do not.

    Raises:
        Blocked: an archive or a folder of it absent.
        DataError: no audio in a folder of the archive.
    """
    home = next((place for place in under(root, places) if any((place / folder).is_dir() for folder in folders)), None)
    if home is None:
        if own := _directly_in(root):
            return _trials(root, own)
        raise absent(f"a folder {' or '.join(folders)}", under(root, places, folders))
    found = []
    for folder in folders:
        if not (home / folder).is_dir():
            raise absent(f"the folder {folder}", [home / folder])
        files = audio_files(home / folder)
        if not files:
            raise DataError("no audio in this folder", where=home / folder, remedy="complete the download")
        found += [f"{folder}/{file}".lstrip("/") for file in files]
    return _trials(home, [file for file in found if not _matches(file, without)])


def _directly_in(folder: Path) -> list[str]:
    """The audio files of a folder, without those of folders in it."""
    found = sorted(name for name in names_in(folder) if name.lower().endswith(AUDIO_SUFFIXES) and name[0] != ".")
    for name in found:
        if name.encode(errors="replace").decode() != name:
            raise DataError(f"the file name {name!r} is not UTF-8", where=folder, remedy="rename the file")
    return found


def _matches(file: str, globs: Sequence[str]) -> bool:
    name = file.rpartition("/")[2]
    return any(fnmatchcase(name, glob) for glob in globs)


def _trials(home: Path, files: Sequence[str]) -> pd.DataFrame:
    paths = [f"{home}/{file}" for file in files]
    return validate(pd.DataFrame({"trial": list(map(trial_id, files)), "path": paths, "label": BONAFIDE}), home)
