"""Common Voice: real speech that volunteers read aloud, one language a folder.

Ardila et al., "Common Voice: A Massively-Multilingual Speech Corpus", LREC 2020, arXiv 1912.06670. A release unpacks to
`cv-corpus-<version>/<language>/` with lists and the folder `clips`. `validated.tsv` names what at least two listeners
found to be the sentence. It is no CSV: sentences hold bare quote characters, which mean nothing. There are millions of
rows, so it is read in one go, and line by line only where something is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import compute

from bench.corpora.files import absent, names_in, plain_names, reader, under
from bench.corpora.tables import Rows, read_table
from bench.errors import DataError
from bench.trials import BONAFIDE, trial_ids, validate

LIST = "validated.tsv"
NEEDED = ("client_id", "path")
LOCALE = "locale"  # the language, in the lists of all but the first releases


@reader()
def read(root: Path, *, places: Sequence[str], language: str) -> pd.DataFrame:
    """The validated clips of one language, all bona fide; the speaker is `client_id`, an attribute the `language`.

    Args:
        root: the data root.
        places: where below the root the folder of the language, or that of a release (`cv-corpus-*`), may be; or what
            is in the folder of the language.
        language: the folder's name, `en`; what the list says of a row's language counts more.

    Raises:
        Blocked: no list at any of the places.
        DataError: several releases, a list that does not hold what it should, with its line.
    """
    file = _list(root, places, language)
    table, lines = _rows(file)
    names = plain_names(table["path"], file, lines)
    ids = trial_ids(names)
    names = names.where(names != ids, names + ".mp3")  # the first releases left the suffix out
    clips = f"{file.parent / 'clips'}/"
    trials = {"trial": ids, "path": clips + names, "label": BONAFIDE, "speaker": table["client_id"]}
    return validate(pd.DataFrame({**trials, "language": table.get(LOCALE, language)}), file, lines)


def _list(root: Path, places: Sequence[str], language: str) -> Path:
    for place in under(root, places):
        releases = sorted(name for name in names_in(place) if name.startswith("cv-corpus-"))
        if found := [file for file in under(place, ["", *releases], (language, ""), (LIST,)) if file.is_file()]:
            if len(found) > 1:
                folders = ", ".join(str(file.parent) for file in found)
                remedy = "give the folder of one of them: --data NAME=FOLDER"
                raise DataError(f"several releases of Common Voice: {folders}", where=place, remedy=remedy)
            return found[0]
    raise absent(f"{LIST} of Common Voice ({language})", under(root, places, ("cv-corpus-*",), (language,), (LIST,)))


def _rows(file: Path) -> Rows:
    """The columns `NEEDED` of the list, `LOCALE` where it has that, and the line of each row."""
    table = _quickly(file)
    if table is None:  # something is wrong: told with its line, or harmless, as an empty line is
        return read_table(file, NEEDED, delimiters="\t", quotes=False)
    return Rows(table, np.arange(2, len(table) + 2))


def _quickly(file: Path) -> pd.DataFrame | None:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            wanted = [*NEEDED, *({LOCALE} & set(stream.readline().rstrip("\n").split("\t")))]
        table = arrow_csv.read_csv(
            file,
            parse_options=arrow_csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, OSError):
        return None
    if compute.any(compute.equal(table["path"], "")).as_py():
        return None
    frame: pd.DataFrame = table.to_pandas()
    return frame.astype("str")
