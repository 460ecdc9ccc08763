"""RAVDESS: 24 actors speak and sing two sentences in eight emotions; all of it real.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", PLoS ONE 13(5), 2018. A name
says everything, seven numbers of two digits: modality, vocal channel, emotion, intensity, statement, repetition, actor.
Only audio-only recordings (modality 03) are read: the others have the same sound as the track of a video.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from bench.corpora.files import absent, audio_files, names_in, reader, under
from bench.errors import DataError
from bench.trials import BONAFIDE, trial_id, validate

ARCHIVES = ("Audio_Speech_Actors_01-24", "Audio_Song_Actors_01-24")
AUDIO_ONLY = "03"
CHANNELS = {"01": "speech", "02": "song"}
EMOTIONS = dict(
    zip(
        (f"{number:02d}" for number in range(1, 9)),
        ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
        strict=True,
    )
)
ACTOR = re.compile(r"Actor_\d\d")
NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-\d\d-\d\d-\d\d-(\d\d)")


@reader()
def read(root: Path, *, places: Sequence[str]) -> pd.DataFrame:
    """Every audio-only recording, speech and song; the speaker is the actor, attributes are `emotion` and `channel`.

    Args:
        root: the data root.
        places: where below the root the folders `Actor_01` to `Actor_24` may be, in the folders of the two archives or
            together. Files that are named otherwise are none of the corpus.

    Raises:
        Blocked: no folder of an actor at any of the places.
        DataError: no recording in them, one of an unknown emotion or channel, or in the folder of another actor.
    """
    for place in under(root, places):
        homes = [home for home in under(place, ("", *ARCHIVES)) if any(map(ACTOR.fullmatch, names_in(home)))]
        if homes:
            table = pd.DataFrame([row for home in homes for row in _recordings(home)])
            if table.empty:
                raise DataError("no audio-only recording", where=place, remedy="check that the download is complete")
            return validate(table, place)
    raise absent("RAVDESS (Actor_01, ...)", under(root, places))


def _recordings(home: Path) -> Iterator[dict[str, str]]:
    for folder in sorted(filter(ACTOR.fullmatch, names_in(home))):
        for file in audio_files(home / folder):
            trial = trial_id(file)
            fields = NAME.fullmatch(trial)
            if fields is None or fields[1] != AUDIO_ONLY:
                continue
            _, channel, emotion, actor = fields.groups()
            if channel not in CHANNELS or emotion not in EMOTIONS or folder != f"Actor_{actor}":
                raise DataError(
                    f"{file} is no recording of {folder}",
                    where=home / folder,
                    remedy="second and third number are channel (01, 02) and emotion (01 to 08), the last is the actor",
                )
            yield {
                "trial": trial,
                "path": f"{home / folder}/{file}",
                "label": BONAFIDE,
                "speaker": folder,
                "emotion": EMOTIONS[emotion],
                "channel": CHANNELS[channel],
            }
