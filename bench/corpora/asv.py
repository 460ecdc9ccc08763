"""The organisers' speaker verification system (ASV), behind the detector in the t-DCF of ASVspoof.

Its scores come with the corpora, 2019 in LA.zip and 2021 LA in the keys archive, and only their error rates are kept.
Wang et al., "ASVspoof 2019: a large-scale public database of synthesized, converted and replayed speech", 2020; Liu et
al., "ASVspoof 2021: Towards Spoofed and Deepfake Speech Detection in the Wild", 2023. Columns are those that the
organisers' scripts read: `evaluate_tDCF_asvspoof19.py`; `ConfigLA` and `join_protocol_score` of the package of 2021.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.corpora.asvspoof2021 import KEY, PHASES
from bench.corpora.files import under
from bench.corpora.tables import UNUSED, Lines, read_protocol
from bench.costs import VerificationRates, tandem_2019, tandem_2021, verification_rates
from bench.errors import DataError

KINDS = ("target", "nontarget", "spoof")
COLUMNS_2019 = (UNUSED, "kind", "score")  # first the system that made the spoof, or `bonafide`
KEY_2021 = ("speaker", "trial", "codec", "transmission", "attack", "kind", "trim", "phase")
SCORES_2021 = ("speaker", "trial", "score")


@dataclass(frozen=True)
class Verification:
    """How an ASV does on the ASV trials of a dataset, at its EER threshold.

    trials: how many of each of `KINDS`. files: sha256 (hex) of the files that it was read from, by name.
    """

    rates: VerificationRates
    trials: Mapping[str, int]
    files: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """What a cell's manifest says of it."""
        return {**self.rates._asdict(), "trials": dict(self.trials), "files": dict(self.files)}


def verification(reader: str, root: Path, arguments: Mapping[str, Any]) -> Verification | None:
    """The ASV of the dataset that a corpus reader gives, of the same split or phase; None where there are no scores.

    Scores of another split never stand in: with those of eval, the t-DCF of a development list would be none.

    Args:
        reader, arguments: those of the dataset's card.
        root: the data root.

    Raises:
        DataError: a score file that does not hold what it should hold, with its line; no trial of one of `KINDS`; an
            ASV that leaves no t-DCF.
    """
    family = _FAMILIES.get(reader)
    return family(root, **arguments) if family else None


def _asvspoof2019(root: Path, *, split: str, places: Sequence[str]) -> Verification | None:
    """Of dev and eval. Nobody ran the ASV on train."""
    name = f"ASVspoof2019.LA.asv.{split}.gi.trl.scores.txt"
    file = _present(under(root, places, ("ASVspoof2019_LA_asv_scores", ""), (name,)))
    if file is None:
        return None
    rows = read_protocol(file, COLUMNS_2019)
    kinds, scores = rows.table["kind"], rows.table["score"]
    _known(kinds, KINDS, "ASV key", file, rows.lines)
    return _measured(kinds, _numbers(scores, file, rows.lines), [file])


def _asvspoof2021(root: Path, *, track: str, phase: str, places: Sequence[str]) -> Verification | None:
    """Of one phase of LA. DF has no ASV, and the organisers give none over all phases."""
    if track != "LA" or phase not in PHASES:
        return None
    levels = ("keys/LA/ASV", "LA-keys-full/keys/LA/ASV", "LA-keys-stage-1/keys/ASV", "keys/ASV")
    key = _present(under(root, places, levels, (KEY,)))
    file = None if key is None else _present([key.parent / "ASVTorch_Kaldi" / "score.txt"])
    if key is None or file is None:
        return None
    trials, scored = read_protocol(key, KEY_2021), read_protocol(file, SCORES_2021)
    _known(trials.table["kind"], KINDS, "ASV key", key, trials.lines)
    _known(trials.table["phase"], PHASES, "phase", key, trials.lines)
    # One trial counts for several speakers it claims to be: the organisers join the files row by row.
    if len(trials.table) != len(scored.table):
        raise DataError(
            f"{len(scored.table):,} ASV scores for the {len(trials.table):,} trials of {key.name}",
            where=file,
            remedy="take both files from one download of LA-keys-full.tar.gz",
        )
    for column in ("speaker", "trial"):
        other = (trials.table[column] != scored.table[column]).to_numpy()
        if other.any():
            row = int(other.argmax())
            raise DataError(
                f"{column} {scored.table[column].iloc[row]!r}, but {trials.table[column].iloc[row]!r} in line "
                f"{trials.lines[row]} of {key.name}",
                where=file,
                line=int(scored.lines[row]),
                remedy="both files list the same trials in one order: take them from one download",
            )
    scores = _numbers(scored.table["score"], file, scored.lines)
    chosen = (trials.table["phase"] == phase).to_numpy()
    return _measured(trials.table["kind"][chosen], scores[chosen], [key, file])


_FAMILIES: Mapping[str, Callable[..., Verification | None]] = {
    "bench.corpora.asvspoof2019:read": _asvspoof2019,
    "bench.corpora.asvspoof2021:read": _asvspoof2021,
}


def _present(candidates: Sequence[Path]) -> Path | None:
    return next(filter(Path.is_file, candidates), None)


def _known(values: pd.Series, known: Sequence[str], what: str, file: Path, lines: Lines) -> None:
    strange = ~values.isin(known).to_numpy()
    if strange.any():
        row = int(strange.argmax())
        raise DataError(
            f"unknown {what} {values.iloc[row]!r}",
            where=file,
            line=int(lines[row]),
            remedy=f"it is one of {', '.join(known)}; a line cut short is a broken download",
        )


def _numbers(values: pd.Series, file: Path, lines: Lines) -> np.ndarray:
    numbers: np.ndarray = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"the ASV score {values.iloc[row]!r} is no finite number",
            where=file,
            line=int(lines[row]),
            remedy="check that the download is complete",
        )
    return numbers


def _measured(kinds: pd.Series, scores: np.ndarray, files: Sequence[Path]) -> Verification:
    of_kind = {kind: scores[(kinds == kind).to_numpy()] for kind in KINDS}
    try:
        rates = verification_rates(**of_kind)
        for tandem in (tandem_2019, tandem_2021):  # a corpus without a t-DCF is told here, not with every cell
            tandem(rates)
    except DataError as error:
        remedy = error.remedy or "check that the download is complete"
        raise DataError(error.reason(), where=files[-1], remedy=remedy) from None
    trials = {kind: len(of_kind[kind]) for kind in KINDS}
    return Verification(rates, trials, {file.name: _sha256(file) for file in files})


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
