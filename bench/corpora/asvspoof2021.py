"""ASVspoof 2021 LA and DF: the keys archive beside the evaluation audio.

Liu et al., "ASVspoof 2021: Towards Spoofed and Deepfake Speech Detection in the Wild", 2023. The columns are those of
the organisers' evaluation package. Published error rates are of phase `eval` alone: all phases are another dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pandas as pd

from bench.corpora.files import absent, locate, plain_names, reader, under
from bench.corpora.tables import finish, head, read_protocol
from bench.errors import DataError, unknown

KEY = "trial_metadata.txt"
PHASES = ("eval", "progress", "hidden")
_DF = ("speaker", "trial", "codec", "source", "attack", "label", "trim", "phase")
# The DF key of the first stage ends after the phase.
LAYOUTS = {
    "LA": (("speaker", "trial", "codec", "transmission", "attack", "label", "trim", "phase"),),
    "DF": ((*_DF, "vocoder", "task", "team", "gender_pair", "language"), _DF),
}


@reader()
def read(root: Path, *, track: str, phase: str, places: Sequence[str]) -> pd.DataFrame:
    """The trials of one phase of a track. Attributes: those of `LAYOUTS`, compression conditions of DF as `codec`.

    Args:
        root: the data root.
        track: `LA` or `DF`.
        phase: `eval`, `progress`, `hidden`, or `all` three.
        places: where below the root the keys and the audio may be. Keys: `keys/<track>/CM` as the archive unpacks,
            below a folder named like the archive, or beside the audio. Audio: one folder or one a part, with or without
            `flac`; FLAC or WAV.

    Raises:
        Blocked: no key at any of the places.
        DataError: a key that is the other track's, or that does not hold what a key holds, with its line.
        UsageError: a track or a phase nobody knows.
    """
    if track not in LAYOUTS:
        raise unknown("track of ASVspoof 2021", track, LAYOUTS)
    if phase not in (*PHASES, "all"):
        raise unknown("phase of ASVspoof 2021", phase, (*PHASES, "all"))
    key = _key(root, track, places)
    rows = read_protocol(key, *LAYOUTS[track])
    strange = ~rows.table["phase"].isin(PHASES).to_numpy()
    if strange.any():
        row = int(strange.argmax())
        raise DataError(
            f"unknown phase {rows.table['phase'].iloc[row]!r}",
            where=key,
            line=int(rows.lines[row]),
            remedy=f"phases are {', '.join(PHASES)}; a line cut short is a broken download",
        )
    ids = plain_names(rows.table["trial"], key, rows.lines)
    rows.table["path"] = locate(ids, _audio(root, track, places), (".flac", ".wav"))
    trials = finish(rows, key)
    if phase == "all":
        return trials
    chosen = trials[trials["phase"] == phase]
    if chosen.empty:
        raise DataError(f"no trial of phase `{phase}`", where=key, remedy="take the key of the full archive")
    return chosen.reset_index(drop=True)


def _key(root: Path, track: str, places: Sequence[str]) -> Path:
    """The key of this track: those of both tracks have one name, and may lie at one place."""
    levels = (
        f"keys/{track}/CM",
        f"{track}-keys-full/keys/{track}/CM",
        f"{track}-keys-stage-1/keys/CM",
        "keys/CM",
        f"ASVspoof2021_{track}_eval",
        "",
    )
    candidates = under(root, places, levels, (KEY,))
    wrong: list[tuple[Path, str]] = []
    for candidate in filter(Path.is_file, candidates):
        prefix = _first_prefix(candidate)
        if prefix not in {f"{other}_E_" for other in LAYOUTS} - {f"{track}_E_"}:
            return candidate
        wrong.append((candidate, prefix))
    if wrong:
        file, prefix = wrong[0]
        raise DataError(
            f"this is the key of the other track: {track} trials begin with {track}_E_, these with {prefix}",
            where=file,
            line=1,
            remedy=f"unpack {track}-keys-full.tar.gz so that {candidates[0]} exists",
        )
    raise absent(f"the key of ASVspoof 2021 {track} ({KEY})", candidates)


def _first_prefix(key: Path) -> str:
    """What the first trial id of a key begins with, e.g. `DF_E_`."""
    fields = head(key).split()
    return fields[1][:5].decode(errors="replace") if len(fields) > 1 else ""


def _audio(root: Path, track: str, places: Sequence[str]) -> list[Path]:
    whole = f"ASVspoof2021_{track}_eval"
    parts = chain.from_iterable(sorted(root.joinpath(place).glob(f"{whole}_part*")) for place in places)
    by_part = chain.from_iterable(under(part, (whole, ""), ("flac", "")) for part in parts)
    return [*under(root, places, (whole,), ("flac", "")), *by_part, *under(root, places, ("flac", ""))]
