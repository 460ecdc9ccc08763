"""bench.corpora.recordings: noise and room responses of an archive, or of a plain folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import corpora
from bench.errors import Blocked, DataError
from bench.registry import datasets
from tests.corpora.conftest import Lay
from tests.tiny import World

DATASETS = datasets()
NOISE = ["pointsource_noises/noise-free-sound-0000.wav", "pointsource_noises/noise-free-sound-0001.wav"]
ROOMS = [
    "real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav",
    "real_rirs_isotropic_noises/RWCP_type4_rir_p30l.wav",
    "real_rirs_isotropic_noises/air_type1_air_binaural_booth_0_1.wav",
    "simulated_rirs/smallroom/Room001/Room001-00001.wav",
    "simulated_rirs/largeroom/Room200/Room200-00100.wav",
]
OTHER = [
    "pointsource_noises/noise_list",
    "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav",
    "real_rirs_isotropic_noises/RWCP_type5_noise_cirline_ofc_ambient1.wav",
    "real_rirs_isotropic_noises/rir_list",
    "simulated_rirs/smallroom/rir_list",
]
MUSAN = ["noise/free-sound/noise-free-sound-0000.wav", "noise/sound-bible/noise-sound-bible-0000.wav"]


def tree(place: str, *names: str) -> dict[str, str | bytes]:
    return {f"{place}/{name}": "x" for name in names}


def load(root: Path, name: str) -> corpora.Dataset:
    return corpora.load(DATASETS[name], root)


@pytest.mark.parametrize("place", ["rirs-noises/RIRS_NOISES", "rirs-noises", "RIRS_NOISES", "."])
def test_the_two_lists_of_one_archive(place: str, lay: Lay) -> None:
    """Noise, and room responses without the noises that lie among them; ids are paths, all are bona fide."""
    root = lay(tree(place, *NOISE, *ROOMS, *OTHER))
    for name, expected in (("rirs-noises-noise", NOISE), ("rirs-noises-rooms", ROOMS)):
        table = load(root, name).trials
        assert sorted(f"{trial}.wav" for trial in table["trial"]) == sorted(expected)
        assert set(table["label"]) == {"bonafide"}
        assert corpora.missing_audio(table) == []


def test_only_the_noise_of_musan(lay: Lay) -> None:
    """Speech and music lie in the same archive."""
    root = lay(tree("musan/musan", *MUSAN, "speech/librivox/speech-librivox-0000.wav", "music/fma/music-fma-0000.wav"))
    dataset = load(root, "musan-noise")
    assert [f"{trial}.wav" for trial in dataset.trials["trial"]] == MUSAN
    assert dataset.warnings[0].startswith("musan-noise is not the published list: trials 2 (published 930)")


@pytest.mark.parametrize("name", ["rirs-noises-noise", "rirs-noises-rooms", "musan-noise"])
def test_a_folder_of_ones_own(name: str, tmp_path: Path) -> None:
    """`--data NAME=FOLDER` takes the audio in it in any format, not that of folders below, with a warning."""
    own = tmp_path / "own"
    (own / "deeper").mkdir(parents=True)
    for file in ("hum.wav", "rain.FLAC", ".hidden.wav", "notes.txt", "deeper/speech.wav"):
        (own / file).write_text("x")
    dataset = World(tmp_path).workspace(data={name: own}, cards=None).dataset(name)
    assert dataset.trials["trial"].tolist() == ["hum", "rain"]
    assert dataset.trials["path"].tolist() == [f"{own}/hum.wav", f"{own}/rain.FLAC"]
    assert "is not the published list: trials 2" in dataset.warnings[0]


def test_a_card_of_ones_own(lay: Lay) -> None:
    """Any depth, the whole folder, and what is left out, on a card of ten lines."""
    arguments = {"places": ["hall"], "folders": [""], "without": ["*.mp3", "bad?.wav"]}
    card = DATASETS["musan-noise"].model_copy(update={"name": "hall", "arguments": arguments})
    root = lay(tree("hall", "a.wav", "b/c.wav", "b/d.mp3", "b/bad1.wav"))
    assert corpora.load(card, root).trials["trial"].tolist() == ["a", "b/c"]


def test_a_data_root_is_no_folder_of_noise(lay: Lay) -> None:
    """Corpora of speech below the data root are never taken for noise."""
    root = lay(tree("itw/release_in_the_wild", "0.wav") | {"calls.csv": ""})
    with pytest.raises(Blocked, match="a folder pointsource_noises is not here") as caught:
        load(root, "rirs-noises-noise")
    assert str(caught.value.where).splitlines()[1].strip() == f"{root}/rirs-noises/RIRS_NOISES/pointsource_noises"
    assert "bench fetch datasets rirs-noises-noise" in str(caught.value.remedy)


def test_half_an_archive_is_told(lay: Lay) -> None:
    """One of two folders missing, or without audio, is not passed over."""
    with pytest.raises(Blocked, match="the folder real_rirs_isotropic_noises is not here"):
        load(lay(tree("RIRS_NOISES", ROOMS[-1])), "rirs-noises-rooms")
    with pytest.raises(
        DataError, match=r"no audio in this folder\n  where: .*real_rirs_isotropic_noises\n  remedy: complete"
    ):
        load(lay(tree("RIRS_NOISES", OTHER[3])), "rirs-noises-rooms")


def test_names_that_no_table_can_hold_are_refused(lay: Lay) -> None:
    """A file name that is not UTF-8, in an archive and in a folder of one's own."""
    strange = os.fsdecode(b"\xe9.wav")
    for place, root in (("RIRS_NOISES/pointsource_noises", "."), ("own", "own")):
        folder = lay({f"{place}/a.wav": "x"}) / place
        (folder / strange).write_text("x")
        with pytest.raises(DataError, match="is not UTF-8"):
            load(lay({}) / root, "rirs-noises-noise")
        (folder / strange).unlink()


def test_two_formats_of_one_recording_are_refused(lay: Lay) -> None:
    """Ids have no suffix."""
    with pytest.raises(DataError, match="trial 'pointsource_noises/a' is listed twice"):
        load(lay(tree("RIRS_NOISES", "pointsource_noises/a.wav", "pointsource_noises/a.flac")), "rirs-noises-noise")
