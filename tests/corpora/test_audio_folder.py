"""bench.corpora.audio_folder: a user's own folder sorted into real and fake."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import corpora
from bench.corpora import audio_folder
from bench.errors import Blocked, DataError
from bench.trials import AUDIO_SUFFIXES, LABELS
from tests.corpora.conftest import Lay


def test_folders_say_what_is_in_them(lay: Lay) -> None:
    """Ids are relative paths without suffix, sorted; files that are no audio are passed over."""
    root = lay(dict.fromkeys(("mine/real/b.wav", "mine/fake/tts/a.flac", "mine/fake/notes.txt", "mine/readme.md"), ""))
    assert audio_folder.read(root, folder="mine").to_dict("list") == {
        "trial": ["fake/tts/a", "real/b"],
        "path": [f"{root}/mine/fake/tts/a.flac", f"{root}/mine/real/b.wav"],
        "label": ["spoof", "bonafide"],
        "speaker": ["", ""],
        "attack": ["", ""],
    }


@pytest.mark.parametrize("name", [spelling for known in LABELS for spelling in (known, known.title(), known.upper())])
def test_every_spelling_of_a_label_is_a_folder_name(name: str, lay: Lay) -> None:
    """At any depth, in any letter case."""
    root = lay({f"test/{name}/speaker/a.wav": ""})
    assert audio_folder.read(root, folder=".")["label"].tolist() == [LABELS[name.lower()]]


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_every_kind_of_audio_is_a_trial(suffix: str, lay: Lay) -> None:
    """The suffix is no part of the id, in any letter case."""
    root = lay({f"real/a{suffix}": "", f"fake/a{suffix.upper()}": ""})
    assert audio_folder.read(root, folder=".")["trial"].tolist() == ["fake/a", "real/a"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no audio in this folder"),
        (["real/notes.txt"], "no audio in this folder"),
        (["a.wav"], r"a\.wav is in no folder that says whether it is real or fake"),
        (["real/a.wav", "unsorted/b.wav"], r"unsorted/b\.wav is in no folder .*"),
        (["real/fake/a.wav"], r"real/fake/a\.wav is in folders of both classes"),
    ],
)
def test_audio_of_no_class_is_refused_with_what_is_expected(files: list[str], message: str, lay: Lay) -> None:
    """Nothing is dropped and nothing is guessed."""
    root = lay({"here": ""} | dict.fromkeys(files, ""))
    with pytest.raises(
        DataError, match=rf"{message}\n  where: {root}\n  remedy: sort the audio into the folders `real`"
    ):
        audio_folder.read(root, folder=str(root))


def test_two_files_of_one_id_are_refused(lay: Lay) -> None:
    """The same name as WAV and as FLAC would be one trial."""
    root = lay({"real/a.wav": "", "real/a.flac": ""})
    with pytest.raises(
        DataError, match=r"real/a\.wav and real/a\.flac are both trial 'real/a'.*\n.*\n  remedy: rename"
    ):
        audio_folder.read(root, folder=".")


def test_a_name_that_is_not_utf8_is_refused(lay: Lay) -> None:
    """No table of results could hold it."""
    root = lay({"real/a.wav": ""})
    try:
        (root / "real" / "b\udcff.wav").touch()
    except OSError:
        pytest.skip("this file system refuses such names itself")
    with pytest.raises(DataError, match="is not UTF-8"):
        audio_folder.read(root, folder=".")


def test_own_folders_need_no_card(lay: Lay) -> None:
    """`--data mine=FOLDER` makes the card; a folder that went away is blocked."""
    root = lay({"mine/real/a.wav": "", "mine/fake/b.wav": ""})
    card = corpora.own_card("mine", root / "mine")
    assert len(corpora.load(card, Path("elsewhere")).trials) == 2
    (root / "mine").rename(root / "gone")
    with pytest.raises(Blocked, match="the folder of audio is not here"):
        corpora.load(card, Path("elsewhere"))
