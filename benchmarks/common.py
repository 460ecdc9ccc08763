"""What several benchmarks need: a clock that is fair, files of realistic lengths, detectors with random weights, and a
run of `bench run`'s own path over them.

Durations are lognormal. `asvspoof`: mean 3.3 s, 6.7 % below 1 s (what is known of ASVspoof 2021 DF). `itw`: mean 4.29 s
(In-the-Wild: 37.9 h in 31,779 files) with the same spread, which is an assumption. Samples are noise with the spectrum
and the syllables of speech: what is in them does not matter to the clock, what FLAC makes of them hardly.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import soundfile
import torch
from torch import nn

from bench import environment, matrix, registry
from bench.models.lfcc_gmm import LfccGmm
from bench.models.wav2vec2 import BackboneDetector
from bench.progress import Silent
from bench.scorer import build_model
from bench.store import Cell
from bench.workspace import Options, Workspace

RATE = 16_000
SAMPLES = 64_600  # of a fixed window, about 4 s
MEDIAN_SECONDS = {"asvspoof": 2.665, "itw": 3.465}
SPREAD = 0.6535  # of the logarithm of a duration
SHORTEST, LONGEST = 0.4, 30.0


def seconds(what: Callable[[], object], device: str = "cpu") -> float:
    """How long a call takes, the work that it leaves to a GPU included."""
    started = time.perf_counter()
    what()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def in_turn(what: Sequence[Callable[[], object]], rounds: int, device: str = "cpu") -> list[list[float]]:
    """Seconds of each, one after the other in every round, so that a drift of the machine meets all; warmed up."""
    for function in what:
        seconds(function, device)
    return [[seconds(function, device) for function in what] for _ in range(rounds)]


def ratio(times: list[list[float]], other: int, one: int = 0) -> float:
    """How often `one` is done while `other` is done once: median over the rounds."""
    return statistics.median(row[other] / row[one] for row in times)


def print_rates(names: Sequence[str], times: list[list[float]], clips: int) -> None:
    for name, column in zip(names, zip(*times, strict=True), strict=True):
        print(f"  {name:<36} {clips / statistics.median(column):9.2f} clips/s")


def machine(device: str) -> str:
    """The hardware of a device, for the head of a table."""
    told = environment.hardware(device)
    name = "CPU" if told["device"] == "cpu" else told["device"]
    return f"{name}, {told['cpu']}, {told['cores']} cores, torch {torch.__version__}"


def drawn_seconds(kind: str, count: int, generator: np.random.Generator) -> np.ndarray:
    """Durations (count,) of a kind of corpus."""
    drawn = MEDIAN_SECONDS[kind] * np.exp(SPREAD * generator.standard_normal(count))
    return np.clip(drawn, SHORTEST, LONGEST)


def write_files(folder: Path, kind: str, suffix: str, count: int) -> list[Path]:
    """Files `<kind>-<number>.<suffix>` of 16 bit and 16 kHz, new ones each with samples of its own."""
    generator = np.random.default_rng(len(kind + suffix))
    source = _speech_like(generator, 120)
    paths = []
    for number, duration in enumerate(drawn_seconds(kind, count, generator)):
        samples = int(duration * RATE)
        start = generator.integers(len(source) - samples)
        paths.append(folder / f"{kind}-{number:06d}.{suffix}")
        soundfile.write(paths[-1], source[start : start + samples], RATE, subtype="PCM_16")
    return paths


def _speech_like(generator: np.random.Generator, duration: int) -> np.ndarray:
    """Noise that falls by about 12 dB an octave above 500 Hz, four syllables a second and a pause every two seconds."""
    count = duration * RATE
    spectrum = np.fft.rfft(generator.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    noise = np.fft.irfft(spectrum / (1 + (hertz / 500) ** 2), count)
    time_axis = np.arange(count) / RATE
    loudness = (0.1 + np.sin(np.pi * 4 * time_axis) ** 2) * np.where(time_axis % 2 < 1.7, 1, 0.003)
    wave = noise * loudness
    return np.asarray(0.5 * wave / np.abs(wave).max())


def write_list(folder: Path, name: str, paths: Sequence[Path], trials: int | None = None) -> None:
    """A list of the user's own, `<name>.csv`: so many trials, which take the files in turn."""
    count = len(paths) if trials is None else trials
    rows = {
        "trial": [f"T_{number:08d}" for number in range(count)],
        "path": [paths[number % len(paths)].name for number in range(count)],
        "label": ["bonafide" if number % 9 == 0 else "spoof" for number in range(count)],
    }
    pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def random_detector(folder: Path, name: str) -> tuple[str, nn.Module]:
    """A detector with random weights, on the CPU, and its name: a card that extends the one of `name`, its weights in a
    file of `folder`. The clock does not mind, and no rank says anything about detection."""
    card = registry.detectors()[name]
    torch.manual_seed(0)
    model = build_model(card.model, card.arguments, name).eval().requires_grad_(False)
    if isinstance(model, BackboneDetector):
        model.backbone.initialise(0)
        model.requires_grad_(False)
    if isinstance(model, LfccGmm):  # which has no weights until it is fitted
        shape = model.means.shape
        model.load_state_dict(
            {
                "weights": torch.full(shape[:2], 1 / shape[1], dtype=torch.float64),
                "means": torch.randn(shape, dtype=torch.float64),
                "variances": 1 + torch.rand(shape, dtype=torch.float64),
            }
        )
    safetensors.torch.save_file(model.state_dict(), folder / f"{name}.safetensors")
    weights = f"weights: {{file: {name}.safetensors, source: random, licence: none}}"
    write_card(folder, f"{name}-random", f"extends: {name}\n{weights}\n")
    return f"{name}-random", model


def write_card(folder: Path, name: str, fields: str) -> None:
    """A detector card of the user's own, in the folder `cards`."""
    (folder / "cards").mkdir(exist_ok=True)
    (folder / "cards" / f"{name}.yaml").write_text(f"name: {name}\n{fields}", encoding="utf-8")


class Timeline(Silent):
    """A display that remembers when scores came: how many had come by then, and seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.reports: list[tuple[int, float]] = []

    def advance(self, count: int) -> None:
        before = self.reports[-1][0] if self.reports else 0
        self.reports.append((before + count, self.now()))

    def now(self) -> float:
        return time.perf_counter() - self._started


def run(folder: Path, detector: str, dataset: str, **options: Any) -> tuple[Cell, Timeline, float]:
    """`bench run` of a card of `folder` on one of its lists, with an empty store.

    Returns:
        The finished cell, when its scores came, and the seconds from a finished plan to the finished cell.
    """
    asked = Options(
        data={dataset: folder / f"{dataset}.csv"},
        weights=(folder,),
        results=Path(tempfile.mkdtemp(prefix="results-", dir=folder)),
        cards=folder / "cards",
    )
    workspace = Workspace(replace(asked, **options))
    plan = matrix.plan(workspace, [detector], [dataset])
    timeline = Timeline()
    (outcome,) = matrix.run(workspace, plan, timeline)
    elapsed = timeline.now()
    if outcome.cell is None or not outcome.ok:
        raise SystemExit(f"{detector}: {outcome.as_cell.status}: {outcome.as_cell.reason}")
    return outcome.cell, timeline, elapsed
