"""Deepfake-Eval-2024, its audio: what circulated on social media in 2024, in 52 languages.

Chandra et al., "Deepfake-Eval-2024: A Multi-Modal In-the-Wild Benchmark of Deepfakes Circulated in 2024", 2025,
arXiv 2503.02857. The list is `audio-metadata-publish.csv`, the files (mp3, m4a, mp4, wav) lie in `audio-data`.

Files last from seconds to many minutes, so detectors are trained and scored on consecutive pieces of N seconds, as in
protocols/DeepfakeEval2024_segment.py of AntiDeepfake. Nothing is written here: a piece is a trial with `start` and
`stop`. A whole file's id is its name without suffix, `clip`; its piece number i is `clip/10s/i`, from 1 on, which is
the id of no other file and of no piece of another length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from bench import audio
from bench.corpora import fingerprint
from bench.corpora.files import first, missing, names_in, plain_names, reader, under
from bench.corpora.tables import Rows, finish, read_table
from bench.errors import AudioError, Blocked, DataError, UsageError, unknown
from bench.trials import parse_labels, trial_id, trial_ids, validate

LIST = "audio-metadata-publish.csv"
AUDIO = "audio-data"
SPLITS = ("train", "test")


@reader()
def read(
    root: Path, *, split: str, places: Sequence[str], seconds: float | None = None, without: Sequence[str] = ()
) -> pd.DataFrame:
    """The files of one split, or the pieces of `seconds` that they are cut into, the last one shorter.

    A rest of less than 0.1 s belongs to the piece before it: headers of lossy files are no more exact than that.

    Args:
        root: the data root.
        split: `train` or `test`, the column `Finetuning Set`. Rows without one are in neither.
        places: where below the root the list may be, beside the folder `audio-data`. A file is found by its name, or
            by its stem where the user has converted it.
        seconds: length of the pieces, None for whole files. How many there are is told by the headers of the files.
        without: values of `Ground Truth` whose rows are left out. Any other that is not `Real` or `Fake` is an error.

    Raises:
        Blocked: no list at any of the places; pieces wanted, and a file missing.
        DataError: a list that does not hold what it should, with its line; pieces wanted, and a file without a header.
        UsageError: a split nobody knows, no length of a piece.
    """
    if split not in SPLITS:
        raise unknown("split of Deepfake-Eval-2024", split, SPLITS)
    if seconds is not None and not (isinstance(seconds, (int, float)) and audio.SLACK < seconds < math.inf):
        raise UsageError(f"no piece lasts {seconds!r} seconds", remedy=f"`seconds` is a number above {audio.SLACK}")
    file = first(under(root, places, (LIST,)), LIST)
    table = finish(_of_split(file, split, without), file)
    table["path"] = _located(table["path"], file.parent / AUDIO)
    return table if seconds is None else _cut(table, seconds, file)


def _of_split(file: Path, split: str, without: Sequence[str]) -> Rows:
    table, lines = read_table(file, ("filename", "finetuning set", "ground truth"), delimiters=",")
    sets = table["finetuning set"].str.lower()
    strange = ~sets.isin(["", *SPLITS]).to_numpy()
    if strange.any():
        row = int(strange.argmax())
        what = f"unknown `Finetuning Set` {table['finetuning set'].iloc[row]!r}"
        raise DataError(
            what, where=file, line=int(lines[row]), remedy=f"write {' or '.join(SPLITS)}, or leave it empty"
        )
    left_out = table["ground truth"].str.lower().isin([value.lower() for value in without])
    kept = ((sets == split) & ~left_out).to_numpy()
    table, lines = table[kept].reset_index(drop=True), lines[kept]
    names = plain_names(table["filename"], file, lines)
    try:
        labels = parse_labels(table["ground truth"], file, lines)
    except DataError as error:
        remedy = "correct the row, or make a card that extends this one with `arguments: {without: [...]}`"
        raise DataError(error.what, where=error.where, remedy=remedy) from None
    return Rows(pd.DataFrame({"trial": trial_ids(names), "path": names, "label": labels}), lines)


def _located(names: pd.Series, folder: Path) -> list[str]:
    """Where each file is, or is expected."""
    present = sorted(names_in(folder), reverse=True)
    by_stem = {trial_id(name): name for name in present} | {name: name for name in present}
    return [f"{folder}/{by_stem.get(name) or by_stem.get(trial_id(name), name)}" for name in names]


def _cut(files: pd.DataFrame, seconds: float, file: Path) -> pd.DataFrame:
    """The pieces of every file."""
    if lost := missing(files["path"]):
        raise Blocked(
            f"the list cannot be cut into pieces: {len(lost):,} of {len(files):,} audio files are missing",
            where=files["path"].iloc[lost[0]],
            remedy="complete the download: how long a file is tells how many pieces it has",
        )
    durations = _durations(tuple(files["path"]), fingerprint(files))
    pieces = [
        (trial, path, label, number, *ends)
        for trial, path, label, duration in zip(files["trial"], files["path"], files["label"], durations, strict=True)
        for number, ends in enumerate(_ends(duration, seconds), start=1)
    ]
    table = pd.DataFrame(pieces, columns=["trial", "path", "label", "number", "start", "stop"])
    table["trial"] += f"/{seconds:.10g}s/" + table.pop("number").map("{:04d}".format)
    return validate(table, file)


def _ends(duration: float, seconds: float) -> Iterator[tuple[str, str]]:
    """`start` and `stop` of each piece; the last one goes to the end of the file, whatever its header says."""
    last = max(0, int((duration - audio.SLACK) / seconds))
    ends = [f"{number * seconds:.10g}" for number in range(last + 1)]
    return zip(ends, [*ends[1:], ""], strict=True)


@lru_cache(maxsize=len(SPLITS))  # `bench list` reads five lists of pieces of each split
def _durations(paths: tuple[str, ...], _state: str) -> tuple[float, ...]:
    """Seconds of each file. `_state` is another one where a file has changed under its name."""
    found = []
    for path, header in zip(paths, audio.headers(paths), strict=True):
        if isinstance(header, AudioError):
            what = f"the list cannot be cut into pieces, a file does not tell how long it is: {header.what}"
            raise DataError(what, where=path, remedy=header.remedy)
        if header.seconds * header.rate > audio.MAX_SAMPLES:  # or a false header would make millions of pieces
            what = f"the list cannot be cut into pieces, a file is said to last {header.seconds:,.0f} s"
            raise DataError(what, where=path, remedy="it is damaged: fetch it again")
        found.append(header.seconds)
    return tuple(found)
