"""ASVspoof 2019 LA: protocols of five columns beside folders of audio.

Wang et al., "ASVspoof 2019: a large-scale public database of synthesized, converted and replayed speech", 2020.
The README of the release lists columns 3 and 4 swapped; the files are: speaker, utterance, `-`, attack or `-`, key.
The audio folders of dev and eval also hold the enrolment utterances of the speaker verification task: no trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.corpora.files import first, locate, plain_names, reader, under
from bench.corpora.tables import UNUSED, finish, read_protocol
from bench.errors import unknown

COLUMNS = ("speaker", "trial", UNUSED, "attack", "label")
PROTOCOLS = {"train": "cm.train.trn", "dev": "cm.dev.trl", "eval": "cm.eval.trl"}


@reader()
def read(root: Path, *, split: str, places: Sequence[str]) -> pd.DataFrame:
    """The trials of one split.

    Args:
        root: the data root.
        split: `train`, `dev` or `eval`.
        places: where below the root the folder LA may be. The protocols lie in it, in its folder
            `ASVspoof2019_LA_cm_protocols` or beside the audio; the audio (FLAC or WAV) in its folder
            `ASVspoof2019_LA_<split>` or in itself, with or without a folder `flac` or `wav`.

    Raises:
        Blocked: no protocol at any of the places.
        DataError: a protocol that does not hold what a protocol holds, with its line.
        UsageError: a split nobody knows.
    """
    if split not in PROTOCOLS:
        raise unknown("split of ASVspoof 2019 LA", split, PROTOCOLS)
    name = f"ASVspoof2019.LA.{PROTOCOLS[split]}.txt"
    audio = f"ASVspoof2019_LA_{split}"
    protocol = first(under(root, places, ("ASVspoof2019_LA_cm_protocols", "protocols", "", audio), (name,)), name)
    rows = read_protocol(protocol, COLUMNS)
    trials = plain_names(rows.table["trial"], protocol, rows.lines)
    rows.table["path"] = locate(trials, under(root, places, (audio, ""), ("flac", "wav", "")), (".flac", ".wav"))
    return finish(rows, protocol)
