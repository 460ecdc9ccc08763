"""bench.corpora.asvspoof2021: key search, phases, layouts of the audio, keys that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench import corpora
from bench.corpora import asvspoof2021
from bench.errors import Blocked, DataError, UsageError
from bench.registry import datasets
from tests.corpora.conftest import Lay

TEAM20 = "vcc2020 Task1-team20 spoof notrim eval neural_vocoder_nonautoregressive Task1 team20 FF E"
LA = (
    "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n"
    "LA_0021 LA_E_7310647 none - bonafide bonafide only_speech hidden\n"
    "LA_0020 LA_E_1000048 g722 loc_tx bonafide bonafide notrim eval\n"
    "LA_0020 LA_E_1000049 g722 loc_tx A19 spoof notrim progress\n"
)
DF = (
    "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -\n"
    f"TEF2 DF_E_2000013 low_m4a {TEAM20}\n"
    "VCC2TM2 DF_E_4999945 oggm4a vcc2018 SPO-N16 spoof notrim eval traditional_vocoder SPO N16 FM -\n"
    "LA_0044 DF_E_4999962 oggm4a asvspoof bonafide bonafide trim hidden bonafide - - - -\n"
)
KEYS = {"LA": LA, "DF": DF}
KEY = "asvspoof2021/keys/{0}/CM/trial_metadata.txt"


def read(root: Path, name: str) -> pd.DataFrame:
    return corpora.load(datasets()[name], root).trials


def test_the_columns_of_the_la_key(lay: Lay) -> None:
    """Codec, transmission, trim and phase are attributes; a bona fide trial has no attack, `-` is nothing."""
    table = read(lay({KEY.format("LA"): LA}), "asvspoof2021-la-all")
    assert tuple(table) == ("trial", "path", "label", "speaker", "attack", "codec", "transmission", "trim", "phase")
    assert table["attack"].tolist() == ["A07", "", "", "A19"]
    assert table["codec"].tolist() == ["alaw", "none", "g722", "g722"]
    assert table["transmission"].tolist() == ["ita_tx", "", "loc_tx", "loc_tx"]
    assert table["speaker"].tolist() == ["LA_0009", "LA_0021", "LA_0020", "LA_0020"]
    assert table["label"].tolist() == ["spoof", "bonafide", "bonafide", "spoof"]


def test_the_columns_of_the_df_key(lay: Lay) -> None:
    """Thirteen columns; what only a spoof has is empty for a bona fide trial."""
    table = read(lay({KEY.format("DF"): DF}), "asvspoof2021-df-all")
    assert tuple(table)[5:] == (
        "codec",
        "source",
        "trim",
        "phase",
        "vocoder",
        "task",
        "team",
        "gender_pair",
        "language",
    )
    assert table.iloc[1][["source", "vocoder", "task", "team", "gender_pair", "language"]].tolist() == [
        "vcc2020",
        "neural_vocoder_nonautoregressive",
        "Task1",
        "team20",
        "FF",
        "E",
    ]
    assert table["vocoder"].iloc[3] == table["attack"].iloc[3] == ""


def test_the_df_key_of_the_first_stage_has_eight_columns(lay: Lay) -> None:
    """It ends after the phase, and unpacks without a track level."""
    short = "".join(" ".join(line.split()[:8]) + "\n" for line in DF.splitlines())
    full = read(lay({KEY.format("DF"): DF}), "asvspoof2021-df-all")
    root = lay({"stage1/DF-keys-stage-1/keys/CM/trial_metadata.txt": short}) / "stage1"
    pd.testing.assert_frame_equal(
        read(root, "asvspoof2021-df-all").drop(columns="path"),
        full[["trial", "label", "speaker", "attack", "codec", "source", "trim", "phase"]],
    )


@pytest.mark.parametrize(
    ("name", "trials"),
    [
        ("asvspoof2021-la", ["LA_E_9332881", "LA_E_1000048"]),
        ("asvspoof2021-la-progress", ["LA_E_1000049"]),
        ("asvspoof2021-la-hidden", ["LA_E_7310647"]),
        ("asvspoof2021-df", ["DF_E_2000013", "DF_E_4999945"]),
        ("asvspoof2021-df-progress", ["DF_E_2000011"]),
        ("asvspoof2021-df-hidden", ["DF_E_4999962"]),
    ],
)
def test_a_dataset_is_one_phase(name: str, trials: list[str], lay: Lay) -> None:
    """The plain name is phase eval, the one that published numbers are of."""
    root = lay({KEY.format(track): key for track, key in KEYS.items()})
    assert read(root, name)["trial"].tolist() == trials


@pytest.mark.parametrize("track", ["LA", "DF"])
@pytest.mark.parametrize("base", ["asvspoof2021/", "asvspoof2021/{0}/", ""])
@pytest.mark.parametrize(
    "place",
    ["keys/{0}/CM", "{0}-keys-full/keys/{0}/CM", "{0}-keys-stage-1/keys/CM", "keys/CM", "ASVspoof2021_{0}_eval", ""],
)
def test_the_key_is_found_at_every_place(place: str, base: str, track: str, lay: Lay) -> None:
    """As the archives unpack, below their names, without the track level, or beside the audio."""
    root = lay({f"{base}{place}/trial_metadata.txt".format(track).lstrip("/"): KEYS[track]})
    assert len(read(root, f"asvspoof2021-{track.lower()}-all")) == 4


@pytest.mark.parametrize(
    "audio",
    [
        "ASVspoof2021_DF_eval/flac",
        "ASVspoof2021_DF_eval",
        "ASVspoof2021_DF_eval_part{0}/ASVspoof2021_DF_eval/flac",
        "ASVspoof2021_DF_eval_part{0}/ASVspoof2021_DF_eval",
        "ASVspoof2021_DF_eval_part{0}/flac",
        "ASVspoof2021_DF_eval_part{0}",
    ],
)
@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_the_audio_is_found_merged_or_by_part(audio: str, suffix: str, lay: Lay) -> None:
    """One folder or one a part, with or without the level `flac`; other files there do not matter."""
    trials = [line.split()[1] for line in DF.splitlines()]
    files = [f"asvspoof2021/{audio.format(f'0{n}')}/{trial}.{suffix}" for n, trial in enumerate(trials)]
    root = lay({KEY.format("DF"): DF} | dict.fromkeys(files, ""))
    table = read(root, "asvspoof2021-df-all")
    assert table["path"].tolist() == [f"{root}/{file}" for file in files]


def test_without_audio_the_list_says_where_it_belongs(lay: Lay) -> None:
    """Scores made elsewhere need the list alone."""
    root = lay({KEY.format("DF"): DF})
    table = read(root, "asvspoof2021-df")
    assert table["path"].iloc[0] == f"{root}/asvspoof2021/ASVspoof2021_DF_eval/flac/DF_E_2000013.flac"
    assert corpora.missing_audio(table) == [0, 1]


@pytest.mark.parametrize(("track", "other"), [("LA", "DF"), ("DF", "LA")])
def test_the_key_of_the_other_track_is_refused(track: str, other: str, lay: Lay) -> None:
    """Both keys have one name and may have as many columns; ids tell them apart."""
    root = lay({KEY.format(track): "\n" + KEYS[other]})
    with pytest.raises(DataError, match=f"{track} trials begin with {track}_E_, these with {other}_E_") as caught:
        read(root, f"asvspoof2021-{track.lower()}")
    assert caught.value.where == f"{root / KEY.format(track)}, line 1"
    assert f"{track}-keys-full.tar.gz" in str(caught.value.remedy)


def test_a_shared_place_with_the_other_key_does_not_hide_the_right_one(lay: Lay) -> None:
    """Both archives of the first stage unpack to keys/CM; the key beside the audio is still found."""
    beside = "asvspoof2021/ASVspoof2021_DF_eval/trial_metadata.txt"
    root = lay({"asvspoof2021/keys/CM/trial_metadata.txt": LA, beside: DF})
    assert len(read(root, "asvspoof2021-df-all")) == 4


def test_a_key_that_is_not_here_is_blocked_with_what_to_get(tmp_path: Path) -> None:
    """Every searched path is in the error, both archives are in the remedy."""
    with pytest.raises(Blocked) as caught:
        read(tmp_path, "asvspoof2021-df")
    for place in (
        "keys/DF/CM",
        "DF-keys-full/keys/DF/CM",
        "DF-keys-stage-1/keys/CM",
        "keys/CM",
        "ASVspoof2021_DF_eval",
    ):
        assert f"\n    {tmp_path}/asvspoof2021/{place}/trial_metadata.txt\n" in str(caught.value)
    assert "DF-keys-full.tar.gz" in str(caught.value.remedy)
    assert "4835108" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval", "'LA_E_9332881' is listed twice, first in line 1"),
        ("LA_0009 LA_E_5 alaw ita_tx A07 spoof notrim eva", "unknown phase 'eva'"),
        ("LA_0009 LA_E_5 alaw ita_tx A07 deepfake notrim eval", "unknown label 'deepfake'"),
        ("LA_0009 LA_E_5 alaw ita_tx A07 spoof notrim", "7 columns instead of 8"),
        ("LA_0009 LA_E_5 alaw ita_tx A07 spoof notrim eval x", "9 columns instead of 8"),
        ("LA_0009 ../x alaw ita_tx A07 spoof notrim eval", "not a plain file name"),
    ],
)
def test_a_bad_row_of_any_phase_is_refused_with_file_line_and_remedy(row: str, message: str, lay: Lay) -> None:
    """The whole key is checked, also when one phase of it is asked for."""
    root = lay({KEY.format("LA"): LA.replace("\n", "\r\n") + row})
    with pytest.raises(DataError, match=message) as caught:
        read(root, "asvspoof2021-la-hidden")
    assert caught.value.where == f"{root / KEY.format('LA')}, line 5"
    assert caught.value.remedy


def test_a_phase_without_trials_is_refused(lay: Lay) -> None:
    """A key of the first stage may lack a phase."""
    root = lay({KEY.format("LA"): LA.splitlines()[0]})
    with pytest.raises(DataError, match="no trial of phase `hidden`"):
        read(root, "asvspoof2021-la-hidden")


def test_tracks_and_phases_are_closed_lists(tmp_path: Path) -> None:
    """The organisers' script calls a phase `hidden_track`, which occurs in no key."""
    with pytest.raises(UsageError, match="did you mean hidden"):
        asvspoof2021.read(tmp_path, track="LA", phase="hidden_track", places=[""])
    with pytest.raises(UsageError, match="known: DF, LA"):
        asvspoof2021.read(tmp_path, track="PA", phase="eval", places=[""])
