"""What tests of the scoring pass share: lists of files, and a pass from scorers and a plan to tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from bench.batches import Portions, plan_batches
from bench.cards import AudioRecipe
from bench.runner import Scored
from bench.scorer import Scorer
from bench.scoring import Done, Failed, score_trials
from bench.trials import validate
from tests.tiny import RATE, TILE

PAD: Mapping[str, Any] = {"window": "pad", "samples": 16_000, "epsilon": 1e-7}


def mixed(folder: Path) -> pd.DataFrame:
    """Twelve files of 0.02 to 1.1 s, of several rates, one of them stereo: silence, then noise or a tone."""
    noise = np.random.default_rng(1)
    paths = []
    for number in range(12):
        rate = (16_000, 22_050, 48_000)[number % 3]
        wave = noise.normal(0, 0.2, (int(rate * (0.02 + 0.09 * number)), 2 if number == 5 else 1))
        if number % 2 == 0:
            wave[:, 0] = 0.5 * np.sin(2 * np.pi * 300 * (number + 1) * np.arange(len(wave)) / rate)
        wave[: number * rate // 100] = 0
        paths.append(folder / f"{number}.flac")
        soundfile.write(paths[-1], wave, rate)
    return table(paths)


def table(paths: Sequence[Path | str], first: int = 0) -> pd.DataFrame:
    labels = ["bonafide" if row % 2 else "spoof" for row in range(len(paths))]
    ids = [f"t{first + row}" for row in range(len(paths))]
    return validate(pd.DataFrame({"trial": ids, "path": [str(path) for path in paths], "label": labels}), "list")


def numbered(folder: Path, count: int) -> pd.DataFrame:
    """Files that `tests.tiny` detectors know by number, 1 to `count`."""
    paths = [folder / f"{number}.wav" for number in range(1, count + 1)]
    for number, path in enumerate(paths, start=1):
        soundfile.write(path, np.full(80, number, dtype=np.int16), RATE, subtype="PCM_16")
    return table(paths, first=1)


def scorer(name: str, model: str, audio: Mapping[str, Any] = TILE, weights: Path | None = None, **args: Any) -> Scorer:
    return Scorer(
        name, model if ":" in model else f"tests.tiny:{model}", args, AudioRecipe.model_validate(audio), weights
    )


def scored(scorers: Sequence[Scorer] | Scorer, trials: pd.DataFrame, size: int = 4, **options: Any) -> dict[str, Any]:
    """By detector the table of all its blocks, by trial, or its failure."""
    scorers = [scorers] if isinstance(scorers, Scorer) else scorers
    return gathered(passed(scorers, trials, plan_batches(trials, scorers[0].recipe, size), **options))


def passed(
    scorers: Sequence[Scorer],
    trials: pd.DataFrame,
    batches: Sequence[np.ndarray],
    known: Mapping[str, np.ndarray] | None = None,
    **options: Any,
) -> list[Scored | Failed]:
    """What a pass over batches gives, in its order."""
    portions = Portions(trials, batches, [one.name for one in scorers], known)
    return flat(score_trials(scorers, portions, **options))


def flat(done: Iterable[Done]) -> list[Scored | Failed]:
    return [result for one in done for result in one.results]


def gathered(items: Iterable[Scored | Failed]) -> dict[str, Any]:
    blocks: dict[str, list[pd.DataFrame]] = {}
    failed: dict[str, Failed] = {}
    for item in items:
        if isinstance(item, Failed):
            failed[item.detector] = item
        else:
            assert item.detector not in failed
            assert item.forward_seconds >= 0
            blocks.setdefault(item.detector, []).append(item.block)
    return {name: pd.concat(parts).set_index("trial") for name, parts in blocks.items()} | failed


CUTS = (("", "0.3"), ("0.3", "0.6"), ("0.6", ""), ("0.1", "0.25"), ("", ""))


def pieces_of(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trials of three files of several rates cut at `CUTS`, and of the same samples in files of their own."""
    generator = np.random.default_rng(2)
    rows, own = [], []
    for number, rate in enumerate((16_000, 22_050, 48_000)):
        time = np.arange(int(rate * (0.8 + 0.1 * number)))[:, None] / rate
        tone = 3_000 * np.sin(2 * np.pi * 400 * (number + 1) * time)
        wave = np.where(time < 0.45, tone, generator.normal(0, 3_000, (len(time), 1 + number % 2)))
        wave = np.where(time % 0.3 < 0.05 * (number + 1), 0, wave).astype(np.int16)
        soundfile.write(folder / f"{number}.flac", wave, rate)
        for cut, (start, stop) in enumerate(CUTS):
            rows.append({"trial": f"{number}/{cut}", "path": folder / f"{number}.flac", "start": start, "stop": stop})
            own.append({"trial": f"{number}/{cut}", "path": folder / f"{number}-{cut}.flac"})
            first, last = round(float(start or 0) * rate), round(float(stop or 9) * rate)
            soundfile.write(own[-1]["path"], wave[first:last], rate)
    tables = (pd.DataFrame(found).assign(label="spoof").astype("str") for found in (rows, own))
    made, alone = (validate(found, "list") for found in tables)
    return made, alone
