"""How fast training is. Prints ratios measured in one run; asserts nothing.

    PYTHONPATH=. .venv/bin/python -m benchmarks.training [--device cpu] [--steps 4] [--utterances 24]

1. XLS-R + SLS fine-tuned at batch 5 by the recipe of `xlsr-sls-retrained`, RawBoost 3 included, in steps/s, against a
   plain loop in the authors' style: one process, one utterance after the other, all blocks stacked, torch's own Adam,
   the loss looked at in every step. On a GPU ours runs in bfloat16 as well.
2. An epoch of the head of two-stage XLS-R on kept features against the encoder run anew, as the frozen stage would be
   trained without them.
3. RawBoost utterances/s against a straightforward transcription of its definition (tests/oracles/rawboost.py).

Weights are random: the clock does not mind. The audio is the demo corpus.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.nn import functional

from bench import corpora, environment, registry, training
from bench.augmentation.rawboost import rawboost
from bench.cards import DetectorCard
from bench.corpora import Dataset
from bench.models.sls import SLS
from bench.progress import Silent
from bench.training import Materials
from bench.trials import digest, is_bonafide
from tests.oracles import rawboost as transcription

SAMPLES = 64_600
BATCH = 5
SHORT = {"epochs": 1, "monitor": "training loss", "patience": None, "keep": "last"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=4, help="of SLS")
    parser.add_argument("--utterances", type=int, default=24, help="of an epoch of the head")
    arguments = parser.parse_args()
    device = environment.pick_device(arguments.device)
    hardware = environment.hardware(device)
    versions = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    print(f"{hardware['device']} ({hardware['cpu']}, {hardware['cores']} cores), {versions}")
    with tempfile.TemporaryDirectory() as folder:
        data = corpora.load(registry.datasets()["demo-train"], Path(folder), make=True)
        boosted(data)
        of_head(_part(data, arguments.utterances), Path(folder), device)
        of_sls(_part(data, BATCH * (arguments.steps + 1)), Path(folder), device)


def of_sls(data: Dataset, folder: Path, device: str) -> None:
    plain = plain_loop(data, device)
    ours = {"float32": _steps_a_second(_sls(data, "fp32"), data, folder / "fp32", device)}
    if device.startswith("cuda"):
        ours["bfloat16"] = _steps_a_second(_sls(data, "bf16"), data, folder / "bf16", device)
    print(f"XLS-R + SLS, fine-tuning, batch {BATCH}, RawBoost 3, {len(data.trials) // BATCH - 1} steps")
    print(f"  plain loop, float32     {plain:8.3f} steps/s")
    for name, rate in ours.items():
        target = "2" if name == "bfloat16" else "1 on a CPU"
        print(f"  bench, {name:<16} {rate:8.3f} steps/s, ours / plain {rate / plain:.2f}   (target {target})")


def _sls(data: Dataset, precision: str) -> DetectorCard:
    return _changed("xlsr-sls-retrained", data, {**SHORT, "precision": precision})


def plain_loop(data: Dataset, device: str) -> float:
    """Steps a second behind the first one."""
    torch.manual_seed(0)
    model = SLS("xls-r-300m")
    model.backbone.initialise(0)
    model.to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-6, weight_decay=1e-4)
    weights = torch.tensor([0.1, 0.9], device=device)
    labels = torch.from_numpy(is_bonafide(data.trials).astype(np.int64))
    order = np.random.default_rng(0).permutation(len(data.trials))
    started = 0.0
    for number, rows in enumerate(order.reshape(-1, BATCH)):
        wave = torch.stack([_boosted_clip(data.trials["path"].iloc[row]) for row in rows]).to(device)
        loss = functional.cross_entropy(_stacked(model, wave), labels[rows].to(device), weights)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimiser.step()
        float(loss.detach())
        if number == 0:
            started = time.perf_counter()
    return (len(order) // BATCH - 1) / (time.perf_counter() - started)


def _boosted_clip(path: str) -> Tensor:
    wave, _ = soundfile.read(path, dtype="float32")
    changed = transcription.rawboost(wave.astype(np.float64), 3, np.random.RandomState(0))
    return torch.from_numpy(np.resize(changed, SAMPLES).astype(np.float32))


def _stacked(model: SLS, wave: Tensor) -> Tensor:
    """The logits as the authors compute them: all blocks kept, then gated, then summed."""
    layers = torch.stack(list(model.backbone.blocks(wave)), dim=1)  # (B, 24, T, D)
    gates = torch.sigmoid(model.fc0(layers.mean(2)))
    maps = functional.selu(model.first_bn((layers * gates[:, :, None]).sum(1, keepdim=True)))
    hidden = functional.selu(model.fc1(functional.max_pool2d(maps, 3).flatten(1)))
    return functional.selu(model.fc3(hidden))


def of_head(data: Dataset, folder: Path, device: str) -> None:
    """Epochs behind the first one: what fills the kept features is left out."""
    two, ten = (_changed("two-stage-xlsr-frozen", data, {**SHORT, "epochs": n, "precision": "fp32"}) for n in (2, 10))
    anew = _epoch_seconds(two, data, folder / "anew", device, None)
    kept = _epoch_seconds(ten, data, folder / "kept", device, folder / "features")
    print(f"two-stage XLS-R, an epoch of the head, {len(data.trials)} utterances of 5 s, batch 16")
    print(f"  encoder anew            {anew:8.2f} s")
    print(f"  kept features           {kept:8.3f} s, anew / kept {anew / kept:.1f}   (target 20)")


def boosted(data: Dataset) -> None:
    waves = [soundfile.read(path, dtype="float32")[0] for path in data.trials["path"][:24]]
    waves = [np.resize(wave, SAMPLES) for wave in waves]
    print(f"RawBoost, utterances of {SAMPLES:,} samples a second, one thread")
    for algorithm in (1, 2, 3, 4, 5):
        ours = _utterances_a_second(rawboost, algorithm, np.random.default_rng(0), waves)
        theirs = _utterances_a_second(transcription.rawboost, algorithm, np.random.RandomState(0), waves)
        print(
            f"  algorithm {algorithm}  ours {ours:7.1f}, theirs {theirs:7.1f}, ratio {ours / theirs:.2f}   (target 2)"
        )


def _utterances_a_second(
    function: Callable[..., Any], algorithm: int, random: object, waves: list[np.ndarray]
) -> float:
    function(waves[0], algorithm, random)
    started = time.perf_counter()
    for wave in waves:
        function(wave, algorithm, random)
    return len(waves) / (time.perf_counter() - started)


# --- recipes made short ---------------------------------------------------------------------------------------------


def _part(data: Dataset, count: int) -> Dataset:
    trials = data.trials.sample(count, random_state=0).reset_index(drop=True)
    return replace(data, trials=trials, digest=digest(trials))


def _changed(name: str, data: Dataset, changes: Mapping[str, Any]) -> DetectorCard:
    """The card with random start weights, the given list, and its only stage changed."""
    card = registry.detectors()[name]
    assert card.recipe is not None, name
    (stage,) = card.recipe.stages.items()
    changed = stage[1].model_dump(mode="json") | {"train": [], "validation": None} | dict(changes)
    recipe = card.recipe.model_dump(mode="json")
    recipe |= {"train": data.name, "dev": None, "start": {"backbone": "random"}, "stages": {stage[0]: changed}}
    return DetectorCard.model_validate(card.model_dump(mode="json") | {"recipe": recipe})


class Clock(Silent):
    """When each step ended."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def advance(self, count: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps.append(time.perf_counter())


def _trained(card: DetectorCard, data: Dataset, folder: Path, device: str, features: Path | None) -> list[float]:
    """When each step ended, of a training whose weights are thrown away."""
    clock, materials = Clock(), Materials({data.name: data}, {"backbone": None})
    training.train(card, materials, folder, device=device, display=clock, features=features, feature_limit=1 << 34)
    shutil.rmtree(folder)
    return clock.steps


def _steps_a_second(card: DetectorCard, data: Dataset, folder: Path, device: str) -> float:
    """Behind the first step."""
    times = _trained(card, data, folder, device, None)
    return (len(times) - 1) / (times[-1] - times[0])


def _epoch_seconds(card: DetectorCard, data: Dataset, folder: Path, device: str, features: Path | None) -> float:
    """The mean over the epochs behind the first one."""
    times = _trained(card, data, folder, device, features)
    epochs = card.recipe.stages["head"].epochs if card.recipe else 1
    steps = -(-len(data.trials) // 16)
    return (times[-1] - times[-1 - (epochs - 1) * steps]) / (epochs - 1)


if __name__ == "__main__":
    main()
