"""bench.corpora.protocol_csv: a user's own list."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import corpora
from bench.corpora import protocol_csv
from bench.errors import Blocked, DataError
from tests.corpora.conftest import Lay


def test_a_list_becomes_the_trial_table(lay: Lay) -> None:
    """Ids are paths without suffix, known columns are kept, others become attributes, the rest is ''."""
    root = lay({"mine/list.csv": "label,path,speaker,attack,noise\nfake,x/a.wav,anna,tts,low\nreal,b.FLAC,,,high\n"})
    assert protocol_csv.read(root, file="mine/list.csv").to_dict("list") == {
        "trial": ["x/a", "b"],
        "path": [f"{root}/mine/x/a.wav", f"{root}/mine/b.FLAC"],
        "label": ["spoof", "bonafide"],
        "speaker": ["anna", ""],
        "attack": ["tts", ""],
        "noise": ["low", "high"],
    }


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("name", ["path", "file", "filename", "file_name", "File"])
def test_delimiter_and_name_of_the_path_column_are_free(delimiter: str, name: str, lay: Lay) -> None:
    """Comma, tab, semicolon or pipe; four names of the column, with Windows line ends."""
    root = lay({"list.txt": f"{name}{delimiter}label\r\na.wav{delimiter}spoof\r\n"})
    assert protocol_csv.read(root, file="list.txt")["trial"].tolist() == ["a"]


def test_a_column_of_ids_is_used_without_suffix(lay: Lay) -> None:
    """Own ids let scores made elsewhere be matched."""
    root = lay({"list.csv": "trial,path,label\nT1.wav,a.wav,spoof\nT2,b.wav,spoof\n"})
    assert protocol_csv.read(root, file="list.csv")["trial"].tolist() == ["T1", "T2"]


def test_files_elsewhere_below_the_data_root_may_be_named(lay: Lay) -> None:
    """Absolute or climbing paths may leave the list's folder, never the data root, and bring an id of their own."""
    root = lay({})
    lay({"lists/l.csv": f"path,label,trial\n{root}/audio/a.wav,spoof,a\n../audio/b.wav,spoof,b\nc.wav,spoof,c.wav\n"})
    assert protocol_csv.read(root, file="lists/l.csv")["trial"].tolist() == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"a\.wav' leads outside the corpus"):
        protocol_csv.read(root / "lists", file="l.csv")
    lay({"lists/l.csv": "path,label\nc.wav,spoof\n../audio/b.wav,spoof\n"})
    with pytest.raises(DataError, match=r"b\.wav is outside the folder of this list(.|\n)*line 3(.|\n)*column `trial`"):
        protocol_csv.read(root, file="lists/l.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,spoof", "trial 'a' is listed twice, first in line 2"),
        ("a.flac,real", "trial 'a' is listed twice, first in line 2"),
        ("b.wav,1", "unknown label '1'"),
        ("b.wav,", "unknown label ''"),
        ("b.wav", "1 columns instead of the 2"),
        ("b.wav,spoof,x", "3 columns instead of the 2"),
        ("../../b.wav,spoof", "leads outside the corpus"),
        ("/etc/passwd,spoof", "leads outside the corpus"),
        (",spoof", "empty file name"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_remedy(row: str, message: str, lay: Lay) -> None:
    """Duplicates, labels nobody knows, lost or extra columns, paths to elsewhere."""
    root = lay({"list.csv": "path,label\na.wav,spoof\n" + row})
    with pytest.raises(DataError, match=message) as caught:
        protocol_csv.read(root, file="list.csv")
    assert caught.value.where == f"{root / 'list.csv'}, line 3"
    assert caught.value.remedy


def test_a_list_that_holds_nothing_is_refused(lay: Lay) -> None:
    """Empty files, a header alone, no header, no file."""
    root = lay({"empty.csv": "", "header.csv": "path,label\n", "bare.csv": "a.wav,spoof\n"})
    for name, message in (("empty", "the file is empty"), ("header", "no trial"), ("bare", "the header has no column")):
        with pytest.raises(DataError, match=message):
            protocol_csv.read(root, file=f"{name}.csv")
    with pytest.raises(Blocked, match="the list of trials is not here"):
        protocol_csv.read(root, file="none.csv")


def test_own_lists_need_no_card(lay: Lay) -> None:
    """`--data mine=list.csv` makes the card, whose files are the user's own."""
    root = lay({"list.csv": "path,label\na.wav,spoof\n", "a.wav": ""})
    dataset = corpora.load(corpora.own_card("mine", root / "list.csv"), Path("elsewhere"))
    assert dataset.name == "mine"
    assert dataset.own_files
    assert dataset.trials["path"].tolist() == [f"{root}/a.wav"]
    assert dataset.warnings == ()
