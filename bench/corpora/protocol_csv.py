"""A user's own list: a table with a header, columns separated by comma, tab, semicolon or pipe.

    path,label,speaker,attack
    audio/a.wav,bonafide,anna,
    audio/b.wav,spoof,anna,my-tts

Needed are `path` (or `file`, `filename`, `file_name`) and `label` in one of the spellings of `bench.trials.LABELS`.
`trial`, `speaker` and `attack` mean what they mean in the trial table; every other column becomes an attribute. `start`
and `stop` (seconds) make a trial a piece of its file; such a list needs a column `trial`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from bench.corpora.files import first, inside, reader
from bench.corpora.tables import Lines, finish, read_table
from bench.errors import DataError
from bench.trials import trial_ids

NEEDED = ("path|file|filename|file_name", "label")


@reader(own_files=True)
def read(root: Path, *, file: str) -> pd.DataFrame:
    """The trials of a list. Without a column `trial` the id is the path below the list's folder, without audio suffix.

    Args:
        root: the data root.
        file: the list, relative to the root or absolute. Paths in it are relative to its own folder; files outside that
            folder must be inside the data root and need a column `trial`: ids that depend on where a data root is would
            make the same list another one elsewhere.

    Raises:
        Blocked: no such file.
        DataError: a list that cannot be read, or one that leads elsewhere, with the line.
    """
    place = first([root / file], "the list of trials")
    rows = read_table(place, NEEDED)
    roots = [place.parent, root] if root.is_dir() else [place.parent]
    paths, ids = inside(rows.table["path"], roots, place, rows.lines)
    rows.table["path"] = paths
    if "trial" in rows.table:
        rows.table["trial"] = trial_ids(rows.table["trial"])
    else:
        _check_below(paths, place, rows.lines)
        rows.table["trial"] = ids
    return finish(rows, place)


def _check_below(paths: pd.Series, file: Path, lines: Lines) -> None:
    folders = tuple(os.path.normpath(folder) + "/" for folder in (file.parent.absolute(), file.parent.resolve()))
    outside = ~paths.str.startswith(folders).to_numpy()
    if outside.any():
        row = int(outside.argmax())
        raise DataError(
            f"{paths.iloc[row]} is outside the folder of this list, so it needs an id of its own",
            where=file,
            line=int(lines[row]),
            remedy="add a column `trial`, or put the list above its audio",
        )
