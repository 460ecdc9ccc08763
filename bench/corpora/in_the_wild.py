"""In-the-Wild: a flat folder of WAV files and one list.

Müller et al., "Does Audio Deepfake Detection Generalize?", Interspeech 2022, arXiv 2203.16263. Labels are spelt
`bona-fide` and `spoof`. There is no official split: the whole set is the evaluation set. The trial id is the number of
the file in every form of the corpus, so all of them have one digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.corpora import audio_folder
from bench.corpora.files import absent, first, locate, plain_names, reader, under
from bench.corpora.tables import UNUSED, Rows, finish, head, read_protocol, read_table
from bench.trials import BONAFIDE, SPOOF, trial_ids

KEY_COLUMNS = ("speaker", "file", UNUSED, UNUSED, UNUSED, "label")
NEEDED = ("file|path|filename|file_name", "label")


@reader()
def read(root: Path, *, places: Sequence[str], key: str | None = None) -> pd.DataFrame:
    """All trials; the speaker is the public figure who speaks or is imitated.

    Args:
        root: the data root.
        places: where below the root the audio may be, with `meta.csv` in the same folder or in `protocols` beside it.
            Where there is no `meta.csv`, folders `real` and `fake` (a published copy sorts the files so) are read.
        key: a list to use instead, relative to the root or absolute: six columns separated by spaces (file in the
            second, label in the last), or a table with a header (`file_name,label`), of whose absolute paths the name
            of the file counts.

    Raises:
        Blocked: neither list nor labelled folders at any of the places.
        DataError: a list that does not hold what it should, with its line.
    """
    folders = under(root, places)
    if key is not None:
        file = first([root / key], "the key file of In-the-Wild")
        return _trials(_key(file), file, folders)
    lists = under(root, places, ("", "protocols"), ("meta.csv",))
    for file in filter(Path.is_file, lists):
        home = file.parent.parent if file.parent.name == "protocols" else file.parent
        return _trials(read_table(file, NEEDED, delimiters=","), file, [home, *folders])
    for folder in folders:
        if audio_folder.classes(folder) == {BONAFIDE, SPOOF}:
            return audio_folder.trials(folder, by_stem=True)
    raise absent("meta.csv of In-the-Wild", [*lists, *under(root, places, ("real",))])


def _key(file: Path) -> Rows:
    if b"," not in head(file).partition(b"\n")[0]:
        return read_protocol(file, KEY_COLUMNS)
    rows = read_table(file, NEEDED, delimiters=",")
    names = rows.table["file"]
    rows.table["file"] = names.mask(names.str.startswith("/"), names.str.rpartition("/")[2])
    return rows


def _trials(rows: Rows, file: Path, folders: Sequence[Path]) -> pd.DataFrame:
    ids = trial_ids(plain_names(rows.table["file"], file, rows.lines))
    table = rows.table.assign(trial=ids, path=locate(ids, folders, (".wav", ".flac"))).drop(columns="file")
    return finish(Rows(table, rows.lines), file)
