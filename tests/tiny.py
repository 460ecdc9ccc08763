"""Tiny detectors and corpora for the tests of the store, the scoring pass, the matrix and training.

Every sample of file number n is n / 32768: a detector hears which file it is given, gives it the score sin(n), and can
write what it was given into a side file, a line a forward pass.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import Tensor, nn

from bench import matrix, passes
from bench.cards import AudioRecipe, DetectorCard
from bench.corpora import protocol_csv
from bench.corpora.files import reader
from bench.matrix import Outcome
from bench.models import Facts, Output
from bench.progress import Silent
from bench.store import Cell
from bench.workspace import Options, Workspace

RATE = 16_000
TILE: Mapping[str, Any] = {"window": "tile", "samples": 64}
WHOLE: Mapping[str, Any] = {"window": "whole"}


@reader()
def published_list(root: Path, *, file: str) -> pd.DataFrame:
    """A list as in `protocol_csv`, of a corpus that does not change."""
    return protocol_csv.read(root, file=file)


class Tiny(nn.Module):
    """Scores sin(n) for file n."""

    def __init__(self, log: str = "", delay: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.log, self.delay, self.scale = log, delay, scale

    def forward(self, wave: Tensor, lengths: Tensor) -> Any:
        numbers = (wave[:, 0] * 32768).round().long().tolist()
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{json.dumps(numbers)}\n")
        time.sleep(self.delay)
        return self.answer(numbers)

    def answer(self, numbers: Sequence[int]) -> Any:
        return torch.tensor([self.scale * math.sin(number) for number in numbers], dtype=torch.float64)


class Newer(Tiny):
    """Another adapter version."""

    version = 2


class WithExtras(Tiny):
    def answer(self, numbers: Sequence[int]) -> Output:
        scores = super().answer(numbers)
        return Output(scores, {"spoof": -scores, "bonafide": scores})


class WithEmbedding(Tiny):
    """The embedding of file n is n, -n, and a number beyond half precision; `flat`, of no shape that can be kept."""

    def __init__(self, log: str = "", flat: bool = False) -> None:
        super().__init__(log)
        self.flat = flat

    def answer(self, numbers: Sequence[int]) -> Output:
        rows = torch.tensor([[number, -number, 1e9] for number in numbers])
        return Output(super().answer(numbers), embedding=rows[:, 0] if self.flat else rows)


class ReservedExtra(Tiny):
    def answer(self, numbers: Sequence[int]) -> Output:
        return Output(super().answer(numbers), {"seconds": torch.zeros(len(numbers))})


class At(Tiny):
    """Something happens when file `at` comes."""

    def __init__(self, at: int, log: str = "") -> None:
        super().__init__(log)
        self.at = at


class NotFiniteAt(At):
    def answer(self, numbers: Sequence[int]) -> Tensor:
        scores: Tensor = super().answer(numbers)
        scores[[number == self.at for number in numbers]] = math.nan
        return scores


class RaisesAt(At):
    def answer(self, numbers: Sequence[int]) -> Any:
        if self.at in numbers:
            raise ValueError(f"cannot digest {self.at}")
        return super().answer(numbers)


class InterruptedAt(At):
    """Ctrl-C, once: the side file `flag` remembers it."""

    def __init__(self, at: int, flag: str, log: str = "") -> None:
        super().__init__(at, log)
        self.flag = Path(flag)

    def answer(self, numbers: Sequence[int]) -> Any:
        if self.at in numbers and not self.flag.exists():
            self.flag.touch()
            raise KeyboardInterrupt
        return super().answer(numbers)


class WrongShape(Tiny):
    def answer(self, numbers: Sequence[int]) -> Any:
        return super().answer(numbers)[:, None]


class NotBuilt(nn.Module):
    def __init__(self) -> None:
        raise ValueError("this module wants a licence key")


class OutOfMemory(Tiny):
    """More than `most` rows do not fit; `host` picks which memory."""

    def __init__(self, most: int, host: bool, log: str = "") -> None:
        super().__init__(log)
        self.most, self.host = most, host

    def answer(self, numbers: Sequence[int]) -> Any:
        if len(numbers) > self.most:
            if self.host:
                text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"
                raise RuntimeError(f"[enforce fail at alloc_cpu.cpp:127] err == 0. {text} (Cannot allocate memory)")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 bytes.")
        return super().answer(numbers)


class Lowerable(Tiny):
    """In lower precision every `each`-th score, from the first one on, is off by `off`."""

    def __init__(self, off: float = 0.0, each: int = 1, log: str = "") -> None:
        super().__init__(log)
        self.off, self.each, self.low = off, each, False

    def lower_precision(self) -> None:
        self.low = True

    def answer(self, numbers: Sequence[int]) -> Any:
        scores: Tensor = super().answer(numbers)
        off = torch.tensor([self.off if number % self.each == 1 % self.each else 0.0 for number in numbers])
        return scores + off if self.low else scores


class Power(nn.Module):
    """Mean power of the real samples, row by row."""

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        rows = zip(wave, lengths.tolist(), strict=True)
        return torch.stack([row[:length].double().square().mean() for row, length in rows])


class FactsSum(nn.Module):
    """Duration, rate and channels in one number."""

    def forward(self, facts: Sequence[Facts]) -> Tensor:
        return torch.tensor([(f.seconds or 0.0) + (f.rate or 0) + (f.channels or 0) / 10 for f in facts])


class Trainable(nn.Module):
    """Its one weight is the mean first sample of the bona fide files plus the seed; `fit` leaves a line in `log`."""

    weight: Tensor

    def __init__(self, log: str = "", broken: bool = False) -> None:
        super().__init__()
        self.log, self.broken = log, broken
        self.register_buffer("weight", torch.full((1,), math.nan))

    def fit(self, utterances: Iterable[tuple[Tensor, int]], seed: int, *, gain: float = 1.0) -> None:
        with Path(self.log).open("a") as file:
            file.write("fit\n")
        bonafide = [float(wave[0]) for wave, label in utterances if label == 1]
        if self.broken:
            raise ArithmeticError("the loss exploded")
        self.weight[0] = torch.tensor(gain * float(np.mean(bonafide)) + seed, dtype=torch.float64)

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return wave[:, 0].double() * self.weight.double()


def log_lines(log: Path) -> list[list[int]]:
    """What a `Tiny` was given, a list of file numbers a forward pass."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


class World:
    """A place of its own: cards, corpora, weights and results below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data, self.cards, self.results = root / "data", root / "cards", root / "results"
        self.log = root / "forward.log"
        self.cards.mkdir(exist_ok=True)
        self.data.mkdir(exist_ok=True)

    def audio(self, number: int, folder: str = "audio", frames: int = 80) -> Path:
        path = self.data / folder / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.full(frames, number, dtype=np.int16), RATE, subtype="PCM_16")
        return path

    def corpus(self, name: str, numbers: Iterable[int], folder: str = "audio", audio: bool = True) -> Path:
        """A list `name`.csv of files; odd numbers are bona fide."""
        numbers = list(numbers)
        lines = [f"{folder}/{n}.wav,{n},{'bonafide' if n % 2 else 'spoof'}" for n in numbers]
        for number in numbers if audio else ():
            self.audio(number, folder)
        place = self.data / f"{name}.csv"
        place.write_text("\n".join(["path,trial,label", *lines]) + "\n")
        return place

    def dataset(self, name: str, numbers: Iterable[int], audio: bool = True, **fields: Any) -> str:
        """A card over such a list, and the list."""
        self.corpus(name, numbers, audio=audio)
        how = {"reader": "tests.tiny:published_list", "arguments": {"file": f"{name}.csv"}}
        self._card(name, {**how, "obtain": f"get {name} from its author", **fields})
        return name

    def detector(self, name: str, model: str = "Tiny", audio: Mapping[str, Any] = TILE, **fields: Any) -> str:
        """A detector card; `model` is a class of this module or a whole `module:Class`."""
        target = model if ":" in model else f"tests.tiny:{model}"
        self._card(name, {"family": "tiny", "model": target, "audio": dict(audio), **fields})
        return name

    def _card(self, name: str, fields: Mapping[str, Any]) -> None:
        card = {"name": name, "title": name, "summary": "tiny", "licence": "MIT", **fields}
        (self.cards / f"{name}.yaml").write_text(json.dumps(card))  # JSON is YAML

    def workspace(self, **options: Any) -> Workspace:
        places = {"data_root": self.data, "weights": (self.root / "weights",), "results": self.results}
        return Workspace(Options(**{**places, "cards": self.cards, "device": "cpu", "workers": 0, **options}))

    def plan(self, detectors: str, datasets: str, **options: Any) -> list[matrix.Planned]:
        return matrix.plan(self.workspace(**options), [detectors], [datasets])

    def run(self, detectors: str, datasets: str, **options: Any) -> list[Outcome]:
        workspace = self.workspace(**options)
        return matrix.run(workspace, matrix.plan(workspace, [detectors], [datasets]), Silent())

    def cell(self, detector: str, dataset: str, **options: Any) -> Cell:
        """The cell of one pair, after a run."""
        (outcome,) = self.run(detector, dataset, **options)
        return outcome.as_cell

    def scores(self, detector: str, dataset: str, **options: Any) -> bytes:
        """The bytes of scores.parquet, after a run."""
        return score_bytes(self.cell(detector, dataset, **options))

    def given(self) -> list[list[int]]:
        """What the detectors that log were given since the last call."""
        lines = log_lines(self.log)
        self.log.unlink(missing_ok=True)
        return lines


def score_bytes(cell: Cell) -> bytes:
    assert cell.path is not None, cell.reason
    return (cell.path / "scores.parquet").read_bytes()


def card(name: str = "det", model: str = "Tiny", audio: Mapping[str, Any] = TILE, **fields: Any) -> DetectorCard:
    """A detector card in memory."""
    target = model if ":" in model else f"tests.tiny:{model}"
    texts = {"name": name, "title": name, "summary": "tiny", "licence": "MIT", "family": "tiny"}
    return DetectorCard(**{**texts, "model": target, "audio": AudioRecipe(**audio), **fields})


def run_in_child(root: Path, detectors: str, datasets: str, flush_seconds: float, workers: int, **options: Any) -> None:
    """A run in a process of its own, to be killed."""
    torch.set_num_threads(1)
    passes.FLUSH_SECONDS = flush_seconds
    World(root).run(detectors, datasets, **{"batch_size": 2, "workers": workers, **options})


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())
