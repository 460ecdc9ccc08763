"""bench.corpora.asvspoof2019: layouts, and protocols that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench import corpora
from bench.errors import Blocked, DataError, UsageError
from bench.registry import datasets
from tests.corpora.conftest import Lay

PROTOCOL = "LA_0039 LA_E_2834763 - A11 spoof\nLA_0014 LA_E_8877452 - A14 spoof\nLA_0040 LA_E_6828287 - - bonafide\n"
NAME = "ASVspoof2019.LA.cm.eval.trl.txt"
OFFICIAL = f"asvspoof2019/LA/ASVspoof2019_LA_cm_protocols/{NAME}"
AUDIO = "asvspoof2019/LA/ASVspoof2019_LA_eval/flac"


def read(root: Path, name: str = "asvspoof2019-la") -> pd.DataFrame:
    return corpora.load(datasets()[name], root).trials


def test_the_columns_of_the_release(lay: Lay) -> None:
    """Speaker, utterance, nothing, attack or `-`, key; the audio is expected where the release has it."""
    root = lay({OFFICIAL: PROTOCOL})
    table = read(root)
    assert table.to_dict("list") == {
        "trial": ["LA_E_2834763", "LA_E_8877452", "LA_E_6828287"],
        "path": [f"{root}/{AUDIO}/{trial}.flac" for trial in table["trial"]],
        "label": ["spoof", "spoof", "bonafide"],
        "speaker": ["LA_0039", "LA_0014", "LA_0040"],
        "attack": ["A11", "A14", ""],
    }


@pytest.mark.parametrize("audio", ["ASVspoof2019_LA_eval/flac", "ASVspoof2019_LA_eval", "ASVspoof2019_LA_eval/wav"])
@pytest.mark.parametrize("protocol", ["ASVspoof2019_LA_cm_protocols/", "protocols/", "", "ASVspoof2019_LA_eval/"])
@pytest.mark.parametrize("base", ["asvspoof2019/LA/", "asvspoof2019/LA/LA/", "asvspoof2019/", "LA/", "LA/LA/", ""])
def test_every_accepted_layout_finds_protocol_and_audio(base: str, protocol: str, audio: str, lay: Lay) -> None:
    """The root above LA, LA itself or LA/LA; the protocol beside or above the audio; FLAC or WAV."""
    suffix = "wav" if audio.endswith("wav") else "flac"
    trials = [line.split()[1] for line in PROTOCOL.splitlines()]
    files = [f"{base}{audio}/{trial}.{suffix}" for trial in trials]
    root = lay({f"{base}{protocol}{NAME}": PROTOCOL, f"{base}{audio}/LA_E_0000001.flac": ""} | dict.fromkeys(files, ""))
    table = read(root)
    assert table["path"].tolist() == [f"{root}/{file}" for file in files]
    assert corpora.missing_audio(table) == []


def test_enrolment_audio_is_no_trial_and_a_stray_protocol_is_not_read(lay: Lay) -> None:
    """The train list is `.trn`; a `.trl` of that name in a published tree is not the list."""
    folder = "LA/ASVspoof2019_LA_cm_protocols"
    root = lay(
        {
            f"{folder}/ASVspoof2019.LA.cm.train.trn.txt": "LA_0079 LA_T_1138215 - - bonafide\n",
            f"{folder}/ASVspoof2019.LA.cm.train.trl.txt": "LA_0079 LA_T_9 - - bonafide\n",
            "LA/ASVspoof2019_LA_train/flac/LA_T_7.flac": "",
        }
    )
    assert read(root, "asvspoof2019-la-train")["trial"].tolist() == ["LA_T_1138215"]


def test_a_corpus_that_is_not_here_is_blocked_with_what_to_get(tmp_path: Path) -> None:
    """The error lists the searched paths; the remedy names the archive and the place."""
    with pytest.raises(Blocked) as caught:
        read(tmp_path)
    for place in ("asvspoof2019/LA", "LA/LA"):
        assert f"\n    {tmp_path}/{place}/ASVspoof2019_LA_cm_protocols/{NAME}\n" in str(caught.value)
    assert caught.value.remedy is not None
    assert "LA.zip" in caught.value.remedy
    assert f"it belongs at {tmp_path / OFFICIAL}" in caught.value.remedy


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("LA_0039 LA_E_2834763 - A11 spoof", "trial 'LA_E_2834763' is listed twice, first in line 1"),
        ("LA_0039 LA_E_3 - A11 spuf", "unknown label 'spuf'"),
        ("LA_0039 LA_E_3 - A11 1", "unknown label '1'"),
        ("LA_0039 LA_E 3 - A11 spoof", "6 columns instead of 5"),
        ("LA_0039 LA_E_3 - A1", "4 columns instead of 5"),
        ("LA_0039 ../../secret - A11 spoof", "'../../secret' is not a plain file name"),
        ("LA_0039 /etc/passwd - A11 spoof", "'/etc/passwd' is not a plain file name"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_remedy(row: str, message: str, lay: Lay) -> None:
    """Duplicates, unknown labels, a space in an id, a cut line, a path."""
    root = lay({OFFICIAL: PROTOCOL + row})
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert caught.value.where == f"{root / OFFICIAL}, line 4"
    assert caught.value.remedy


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    """A card that misspells the split is told the known ones."""
    card = datasets()["asvspoof2019-la"]
    card = card.model_copy(update={"arguments": card.arguments | {"split": "evl"}})
    with pytest.raises(UsageError, match="did you mean eval"):
        corpora.load(card, tmp_path)


@pytest.mark.parametrize(("name", "trials"), [("-train", 19), ("-dev", 19), ("", 37)])
def test_the_real_files_are_read(name: str, trials: int, shared: Path) -> None:
    """The small corpus in the layout of the release has all of its audio."""
    table = read(shared / "corpora", f"asvspoof2019-la{name}")
    assert len(table) == trials
    assert set(table["label"]) == {"bonafide", "spoof"}
    assert corpora.missing_audio(table) == []
