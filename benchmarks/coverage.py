"""Do 95 % intervals of the EER hold the true EER in 95 % of corpora? Simulated corpora, whose true EER is known.

    python benchmarks/coverage.py [--corpora 2000]

A corpus has crossed speakers and attacks. The score of a bona fide trial is mu + speaker + noise, that of a spoofed
one speaker + attack + noise, all of them normal; noise has variance 1. All speakers and attacks of the kind would give

    EER = Phi(-mu / (sd of bona fide scores + sd of spoofed scores))

which is the value that an interval has to hold. Every corpus draws its own speakers, attacks and noise. Prints one row
a kind of corpus: the share of intervals that hold the true EER, by the harness's own unit and, for a fifth of the
corpora, by single trials.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from bench.replicates import MEASURES, REPLICATES, replicate
from bench.resampling import Resampling
from bench.uncertainty import interval

NORMAL = NormalDist()


@dataclass(frozen=True)
class Kind:
    """Ranges that each corpus draws its sizes from, ends included, and the standard deviations of the effects."""

    told: str
    eer: tuple[float, float]
    speakers: tuple[int, int] = (50, 100)
    attacks: tuple[int, int] = (20, 60)
    bonafide: tuple[int, int] = (5, 15)  # trials a speaker
    spoof: tuple[int, int] = (1, 1)  # trials a speaker and attack
    speaker_sd: tuple[float, float] = (0.2, 0.8)
    attack_sd: tuple[float, float] = (0.2, 0.8)


KINDS = (
    Kind("50 to 100 speakers, 20 to 60 attacks, EER 5 to 20 %", (0.05, 0.20)),
    Kind("EER 5 %", (0.05, 0.05)),
    Kind("EER 10 %", (0.10, 0.10)),
    Kind("EER 20 %", (0.20, 0.20)),
    Kind("the fewest: 50 speakers, 20 attacks", (0.05, 0.20), (50, 50), (20, 20)),
    Kind("attacks differ as much as trials (sd 1)", (0.05, 0.20), attack_sd=(1.0, 1.0)),
    Kind("no effect of speaker or attack", (0.05, 0.20), speaker_sd=(0.0, 0.0), attack_sd=(0.0, 0.0)),
    Kind("EER 2 %", (0.02, 0.02)),
    Kind("EER 1 %", (0.01, 0.01)),
    Kind("EER 0.3 %", (0.003, 0.003)),
    Kind("EER 0.05 %", (0.0005, 0.0005)),
    Kind("10 attacks", (0.05, 0.20), attacks=(10, 10)),
    Kind("5 attacks", (0.05, 0.20), attacks=(5, 5)),
    Kind("10 attacks that differ as much as trials", (0.05, 0.20), attacks=(10, 10), attack_sd=(1.0, 1.0)),
    Kind("5 attacks that differ as much as trials", (0.05, 0.20), attacks=(5, 5), attack_sd=(1.0, 1.0)),
    Kind("10 speakers", (0.05, 0.20), speakers=(10, 10)),
    Kind("5 speakers", (0.05, 0.20), speakers=(5, 5)),
)


def corpus(kind: Kind, generator: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray, float]:
    """A trial list, its scores, and the EER of all the corpora like it."""

    def whole(ends: tuple[int, int]) -> int:
        return int(generator.integers(ends[0], ends[1] + 1))

    speakers, attacks, each, pairs = (whole(ends) for ends in (kind.speakers, kind.attacks, kind.bonafide, kind.spoof))
    speaker_sd, attack_sd = generator.uniform(*kind.speaker_sd), generator.uniform(*kind.attack_sd)
    true = float(generator.uniform(*kind.eer))
    spread = np.sqrt(1 + speaker_sd**2) + np.sqrt(1 + speaker_sd**2 + attack_sd**2)
    voice, system = generator.normal(0, speaker_sd, speakers), generator.normal(0, attack_sd, attacks)
    real = np.repeat(np.arange(speakers), each)
    fake, made = (part.ravel() for part in np.indices((speakers, attacks, pairs))[:2])
    scores = np.concatenate((voice[real] - NORMAL.inv_cdf(true) * spread, voice[fake] + system[made]))
    names = np.array([f"S{number}" for number in range(speakers)], dtype=object)
    kinds = np.array([f"A{number}" for number in range(attacks)], dtype=object)
    table = pd.DataFrame(
        {
            "label": ["bonafide"] * len(real) + ["spoof"] * len(fake),
            "speaker": names[np.concatenate((real, fake))],
            "attack": np.concatenate((np.full(len(real), "", dtype=object), kinds[made])),
        }
    )
    return table, scores + generator.normal(0, 1, len(scores)), true


def held(table: pd.DataFrame, scores: np.ndarray, true: float, seed: int) -> tuple[bool, float]:
    """Whether the interval holds the true value, and its width."""
    draws = Resampling(table, REPLICATES, seed)
    found = interval(replicate(draws, scores, {"eer": MEASURES["eer"]})["eer"])
    return found.holds(true), found.high - found.low


def measure(kind: Kind, corpora: int) -> str:
    """A row of the table."""
    generator = np.random.default_rng(0)
    cluster, trial = [], []
    for number in range(corpora):
        table, scores, true = corpus(kind, generator)
        cluster.append(held(table, scores, true, number))
        if number % 5 == 0:
            trial.append(held(table[["label"]], scores, true, number))
    shares, widths = np.array([np.mean(found, axis=0) for found in (cluster, trial)]).T
    return f"| {kind.told} | {shares[0]:.3f} | {100 * widths[0]:.2f} | {shares[1]:.2f} | {100 * widths[1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, default=2_000, help="of each kind")
    corpora = parser.parse_args().corpora
    print(f"{corpora:,} corpora of each kind, {REPLICATES:,} replicates each, 95 % intervals of the EER; width in pp\n")
    print("| corpora | speaker x attack: coverage | width | single trials: coverage | width |\n|---|---|---|---|---|")
    for kind in KINDS:
        print(measure(kind, corpora), flush=True)


if __name__ == "__main__":
    main()
