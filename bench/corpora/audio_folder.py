"""A user's own folder of audio, sorted into folders that say what is in them: `real` and `fake`, at any depth.

Every spelling of `bench.trials.LABELS` is such a folder name, in any letter case: `test/REAL/a.wav`,
`fake/tts1/b.flac`. The trial id is the path below the folder without audio suffix.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.corpora.files import audio_files, first, names_in, reader
from bench.errors import DataError
from bench.trials import LABELS, trial_id, validate

EXPECTED = "sort the audio into the folders `real` (bona fide) and `fake` (spoof), or give a CSV with `path,label`"


@reader(own_files=True)
def read(root: Path, *, folder: str) -> pd.DataFrame:
    """The trials of a folder, sorted by path.

    Args:
        root: the data root.
        folder: the folder, relative to the root or absolute.

    Raises:
        Blocked: no such folder.
        DataError: no audio in it, audio that is in no labelled folder or in two that disagree, two files of one id.
    """
    return trials(first([root / folder], "the folder of audio"))


def trials(folder: Path, *, by_stem: bool = False) -> pd.DataFrame:
    """As `read`; with `by_stem` the trial id is the file's name alone, for a corpus whose names are unique."""
    ids: dict[str, str] = {}
    labels = []
    for relative in audio_files(folder):
        label = _label(folder, relative)
        trial = trial_id(relative.rpartition("/")[2] if by_stem else relative)
        if trial in ids:
            raise DataError(
                f"{relative} and {ids[trial]} are both trial {trial!r}",
                where=folder,
                remedy="rename or remove one of the two",
            )
        ids[trial] = relative
        labels.append(label)
    if not ids:
        raise DataError("no audio in this folder", where=folder, remedy=EXPECTED)
    paths = [f"{folder}/{relative}" for relative in ids.values()]
    return validate(pd.DataFrame({"trial": list(ids), "path": paths, "label": labels}), folder)


def classes(folder: Path) -> set[str]:
    """The labels, `bonafide` or `spoof`, that names in a folder stand for."""
    return {LABELS[name.lower()] for name in names_in(folder) if name.lower() in LABELS}


def _label(folder: Path, relative: str) -> str:
    said = {LABELS[part.lower()] for part in relative.split("/")[:-1] if part.lower() in LABELS}
    if len(said) != 1:
        what = "in folders of both classes" if said else "in no folder that says whether it is real or fake"
        raise DataError(f"{relative} is {what}", where=folder, remedy=EXPECTED)
    return said.pop()
