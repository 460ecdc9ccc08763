"""bench.corpora.ravdess: what the names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import corpora
from bench.errors import Blocked, DataError
from bench.registry import datasets
from tests.corpora.conftest import Lay

RAVDESS = datasets()["ravdess"]
SPEECH, SONG = "Audio_Speech_Actors_01-24", "Audio_Song_Actors_01-24"
RECORDINGS = {
    "Actor_01/03-01-01-01-01-01-01.wav": ("Actor_01", "neutral", "speech"),
    "Actor_12/03-01-06-01-02-01-12.wav": ("Actor_12", "fearful", "speech"),
    "Actor_12/03-02-02-02-01-02-12.wav": ("Actor_12", "calm", "song"),
    "Actor_24/03-01-08-02-02-02-24.wav": ("Actor_24", "surprised", "speech"),
}


def tree(place: str, *more: str) -> dict[str, str | bytes]:
    return {f"{place}/{name}": "x" for name in (*RECORDINGS, *more)}


def load(root: Path) -> corpora.Dataset:
    return corpora.load(RAVDESS, root)


@pytest.mark.parametrize("place", ["ravdess", "RAVDESS", "."])
def test_a_name_says_everything(place: str, lay: Lay) -> None:
    """Actor, emotion and channel of each recording, all of them bona fide; a list of another size is warned of."""
    dataset = load(lay(tree(place)))
    table = dataset.trials.set_index("trial")
    assert {
        f"{row.speaker}/{trial}.wav": (row.speaker, row.emotion, row.channel) for trial, row in table.iterrows()
    } == (RECORDINGS)
    assert set(table["label"]) == {"bonafide"}
    assert corpora.missing_audio(table) == []
    assert dataset.warnings == (
        "ravdess is not the published list: trials 4 (published 2,452), bonafide 4 (published 2,452), "
        "speakers 3 (published 24)",
    )


def test_the_two_archives_may_lie_apart(lay: Lay) -> None:
    """Each in a folder of its name or both together: the same list; a copy inside is not looked for."""
    together = load(
        lay({f"a/{name}": "x" for name in tree("ravdess", "audio_speech/Actor_01/03-01-01-01-01-01-01.wav")}) / "a"
    )
    apart = {f"b/ravdess/{SONG if row[2] == 'song' else SPEECH}/{name}": "x" for name, row in RECORDINGS.items()}
    assert load(lay(apart) / "b").digest == together.digest
    assert len(together.trials) == len(RECORDINGS)


def test_other_files_are_no_recordings(lay: Lay) -> None:
    """Videos, notes, names of another form and folders that are no actor's are passed over."""
    more = (
        "Actor_01/01-01-01-01-01-01-01.mp4",
        "Actor_01/02-01-01-01-01-01-01.mp4",
        "Actor_01/notes.wav",
        "Actor_01/03-01-01-01-01-01.wav",
        "Actor_01/.03-01-02-01-01-01-01.wav",
        "Actor_1/03-01-01-01-01-01-01.wav",
        "others/03-01-01-01-01-01-02.wav",
    )
    assert len(load(lay(tree("ravdess", *more))).trials) == len(RECORDINGS)


@pytest.mark.parametrize("name", ["03-01-09-01-01-01-01", "03-03-01-01-01-01-01", "03-01-01-01-01-01-02"])
def test_a_number_that_means_nothing_is_refused(name: str, lay: Lay) -> None:
    """An emotion or a channel nobody knows, a recording in the folder of another actor."""
    root = lay(tree("ravdess", f"Actor_01/{name}.wav"))
    with pytest.raises(DataError, match=rf"{name}\.wav is no recording of Actor_01") as caught:
        load(root)
    assert caught.value.where == f"{root}/ravdess/Actor_01"
    assert "channel (01, 02) and emotion (01 to 08)" in str(caught.value.remedy)


def test_a_recording_twice_is_refused(lay: Lay) -> None:
    """In two formats, or in the folders of both archives."""
    for copy in ("ravdess/Actor_01/03-01-01-01-01-01-01.flac", f"ravdess/{SONG}/Actor_01/03-01-01-01-01-01-01.wav"):
        root = lay({})
        with pytest.raises(DataError, match="trial '03-01-01-01-01-01-01' is listed twice"):
            load(lay(tree("ravdess") | {copy: "x"}))
        (root / copy).unlink()


def test_what_is_not_here_is_blocked_with_what_to_get(lay: Lay) -> None:
    """Without a folder of an actor; with empty ones the download is broken."""
    with pytest.raises(Blocked, match=r"RAVDESS \(Actor_01, \.\.\.\) is not here") as caught:
        load(lay({"ravdess/readme.txt": ""}))
    assert "bench fetch datasets ravdess" in str(caught.value.remedy)
    with pytest.raises(DataError, match="no audio-only recording"):
        load(lay({"ravdess/Actor_01/01-01-01-01-01-01-01.mp4": ""}))
