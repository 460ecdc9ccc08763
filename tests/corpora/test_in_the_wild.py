"""bench.corpora.in_the_wild: the list, the forms it is published in, and lists that are not what they should be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from bench import corpora
from bench.errors import Blocked, DataError
from bench.registry import datasets
from tests.corpora.conftest import Lay

META = "file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Alec Guinness,bona-fide\n2.wav,Ayn Rand,bonafide\n"
OFFICIAL = "itw/release_in_the_wild/meta.csv"


def load(root: Path, **arguments: str) -> corpora.Dataset:
    card = datasets()["itw"]
    return corpora.load(card.model_copy(update={"arguments": card.arguments | arguments}), root)


def read(root: Path, **arguments: str) -> pd.DataFrame:
    return load(root, **arguments).trials


def test_the_columns_of_the_release(lay: Lay) -> None:
    """Ids are the numbers, speakers keep their spaces, both spellings of bona fide count."""
    root = lay({OFFICIAL: META})
    assert read(root).to_dict("list") == {
        "trial": ["0", "1", "2"],
        "path": [f"{root}/itw/release_in_the_wild/{n}.wav" for n in range(3)],
        "label": ["spoof", "bonafide", "bonafide"],
        "speaker": ["Alec Guinness", "Alec Guinness", "Ayn Rand"],
        "attack": ["", "", ""],
    }


@pytest.mark.parametrize("base", ["itw/release_in_the_wild/", "itw/", "release_in_the_wild/", ""])
@pytest.mark.parametrize("folder", ["", "protocols/"])
@pytest.mark.parametrize("change", [("\n", "\r\n"), ("file,", "\ufefffile,")])
def test_every_accepted_layout_is_one_dataset(base: str, folder: str, change: tuple[str, str], lay: Lay) -> None:
    """With or without the release level, the list beside the audio or in `protocols`, line ends, byte order mark."""
    files = [f"{base}{n}.wav" for n in range(3)]
    root = lay({f"{base}{folder}meta.csv": META.replace(*change)} | dict.fromkeys(files, ""))
    assert read(root)["path"].tolist() == [f"{root}/{file}" for file in files]


def test_a_list_in_protocols_finds_the_audio_in_the_release_folder(lay: Lay) -> None:
    """The list beside the release level, the audio in it."""
    root = lay({"itw/protocols/meta.csv": META, "itw/release_in_the_wild/1.wav": ""})
    assert read(root)["path"].iloc[1] == f"{root}/itw/release_in_the_wild/1.wav"


def test_all_forms_of_the_corpus_have_one_digest(lay: Lay) -> None:
    """meta.csv, the six-column key, a comma list with absolute paths, folders `real` and `fake`."""
    key = "".join(f"- {n}.wav - - - {label}\n" for n, label in enumerate(["spoof", "bonafide", "bonafide"]))
    paths = "file_name,label\n/their/disk/0.wav,spoof\n/their/disk/1.wav,bonafide\n/their/disk/2.wav,bonafide\n"
    root = lay(
        {
            f"a/{OFFICIAL}": META,
            "b/itw/key.txt": key,
            "b/list.csv": paths,
            **dict.fromkeys(("c/itw/release_in_the_wild/" + n for n in ("fake/0.wav", "real/1.wav", "real/2.wav")), ""),
        }
    )
    loaded = [
        load(root / "a"),
        load(root / "b", key="itw/key.txt"),
        load(root / "b", key=str(root / "b/list.csv")),
        load(root / "c"),
    ]
    assert len({dataset.digest for dataset in loaded}) == 1
    assert loaded[2].trials["path"].iloc[0] == f"{root}/b/itw/release_in_the_wild/0.wav"
    assert loaded[3].trials["path"].iloc[0] == f"{root}/c/itw/release_in_the_wild/fake/0.wav"


def test_one_name_in_both_folders_is_refused(lay: Lay) -> None:
    """In the sorted copy the number of the file is still the id."""
    root = lay(dict.fromkeys(("itw/real/1.wav", "itw/fake/1.wav"), ""))
    with pytest.raises(DataError, match=r"real/1\.wav and fake/1\.wav are both trial '1'"):
        read(root)


def test_a_corpus_that_is_not_here_is_blocked_with_what_to_get(lay: Lay) -> None:
    """Audio without any list is not enough; the error lists the searched paths."""
    root = lay({"itw/release_in_the_wild/0.wav": ""})
    with pytest.raises(Blocked) as caught:
        read(root)
    for place in (OFFICIAL, "itw/meta.csv", "release_in_the_wild/meta.csv", "meta.csv", "itw/protocols/meta.csv"):
        assert f"\n    {root / place}\n" in str(caught.value)
    assert "release_in_the_wild.zip" in str(caught.value.remedy)
    assert str(root / OFFICIAL) in str(caught.value.remedy)
    with pytest.raises(Blocked, match="the key file of In-the-Wild is not here"):
        read(root, key="key.txt")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.wav,Ayn Rand,spoof", "trial '1' is listed twice, first in line 3"),
        ("3.wav,Ayn Rand,maybe", "unknown label 'maybe'"),
        ("3.wav,Ayn Rand", "2 columns instead of the 3"),
        ("3.wav,Rand, Ayn,spoof", "4 columns instead of the 3"),
        ("../3.wav,Ayn Rand,spoof", "not a plain file name"),
        ("/etc/passwd,Ayn Rand,spoof", "not a plain file name"),
        (",Ayn Rand,spoof", "not a plain file name"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_remedy(row: str, message: str, lay: Lay) -> None:
    """Duplicates, unknown labels, lost or extra columns, paths."""
    root = lay({OFFICIAL: META + row})
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert caught.value.where == f"{root / OFFICIAL}, line 5"
    assert caught.value.remedy


def test_a_list_without_labels_is_refused(lay: Lay) -> None:
    """A plain list of names cannot be the key."""
    root = lay({"key.txt": "0.wav\n1.wav\n"})
    with pytest.raises(DataError, match="1 columns instead of 6"):
        read(root, key="key.txt")


def test_the_real_files_are_read(shared: Path) -> None:
    """The small corpus has 45 bona fide and 95 spoof trials and all of their audio."""
    dataset = load(shared / "corpora")
    assert dataset.trials["label"].value_counts().to_dict() == {"spoof": 95, "bonafide": 45}
    assert corpora.missing_audio(dataset.trials) == []


def test_the_published_lists_agree(shared: Path, tmp_path: Path) -> None:
    """meta.csv and the six-column key of public score files name the same 19,963 + 11,816 trials."""
    scores = shared / "golden/scores"
    key = tmp_path / "key.txt"
    key.write_bytes(gzip.decompress((scores / "itw_key.txt.gz").read_bytes()))
    listed, keyed = load(scores), load(tmp_path, key="key.txt")
    assert listed.digest == keyed.digest
    assert listed.trials["label"].value_counts().to_dict() == {"bonafide": 19_963, "spoof": 11_816}
    assert not any("trials" in warning for warning in listed.warnings)
