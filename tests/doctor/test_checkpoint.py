"""Audits of checkpoints: strict load, repeatable scores, golden scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench import doctor
from bench.doctor import Audit
from bench.doctor.signals import SIGNALS
from bench.progress import Silent
from bench.workspace import Options, Workspace
from tests.tiny import TILE, WHOLE, World

HERE = "tests.doctor.test_checkpoint"
POWER = "tests.tiny:Power"


class Weighed(nn.Module):
    """Scores a sample of a wave, times its one weight."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(1))

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return wave[:, 10] * self.weight


class Unmasked(nn.Module):
    """Hears how long the longest file of its batch is."""

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return wave.square().mean(1)


class Drawing(nn.Module):
    """Another number each time."""

    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return torch.rand(len(wave)) * 1e-6


class NotANumber(nn.Module):
    def forward(self, wave: Tensor, lengths: Tensor) -> Tensor:
        return torch.full((len(wave),), math.nan)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def examine(world: World, *detectors: str) -> list[Audit]:
    return doctor.examine_detectors(world.workspace(), detectors, Silent())


def weights(world: World, tensors: dict[str, Tensor], **fields: Any) -> dict[str, Any]:
    """A file of weights, and what a card says of it."""
    (world.root / "weights").mkdir(exist_ok=True)
    save_file(tensors, world.root / "weights" / "w.safetensors")
    return {"file": "w.safetensors", "source": "its author", "licence": "MIT", **fields}


def test_signals() -> None:
    """The signals are what their formulas say, sample by sample."""
    chirp, harmonics = SIGNALS["chirp-v1"](), SIGNALS["harmonics-v1"]()
    assert chirp.dtype == harmonics.dtype == np.float32
    assert (len(chirp), len(harmonics)) == (64_000, 40_000)
    for n in (0, 1, 777, 39_999):
        t = n / 16_000
        voice = math.fsum(math.sin(240 * math.pi * k * t) / k for k in range(1, 21))
        assert chirp[n] == pytest.approx(0.5 * math.sin(2 * math.pi * (100 * t + 862.5 * t * t)), abs=1e-6)
        assert harmonics[n] == pytest.approx(0.1 * (1 + math.sin(6 * math.pi * t)) * voice, abs=1e-6)


def test_a_healthy_detector(world: World) -> None:
    """Weights that load and give the golden score; without a published hash they are noted as unverified."""
    score = float(2 * SIGNALS["chirp-v1"]()[10])
    golden = [{"input": "chirp-v1", "score": score, "source": "by hand"}]
    card = weights(world, {"weight": torch.tensor([2.0])})
    world.detector("det", f"{HERE}:Weighed", TILE, weights=card, golden=golden)
    (audit,) = examine(world, "det")
    assert [(finding.kind, finding.severity) for finding in audit.findings] == [("unverified", "note")]
    assert audit.facts["scores"]["chirp-v1"] == pytest.approx(score)
    assert (audit.healthy, audit.files) == (True, 1)
    assert f"chirp-v1: score {score:.6f}, golden {score:.6f}, tolerance 0.001" in audit.text().plain


@pytest.mark.parametrize(("off", "healthy"), [(0.0009, True), (0.0011, False)])
def test_golden_scores(world: World, off: float, healthy: bool) -> None:
    """A score that differs from the golden one by more than the tolerance is an error, with both."""
    score = float(SIGNALS["chirp-v1"]()[10])
    golden = [{"input": "chirp-v1", "score": score + off, "source": "by hand"}]
    world.detector("det", f"{HERE}:Weighed", TILE, weights=weights(world, {"weight": torch.ones(1)}), golden=golden)
    (audit,) = examine(world, "det")
    assert audit.healthy == healthy
    told = [finding.what for finding in audit.of("error")]
    assert told == ([] if healthy else [f"chirp-v1 scores {score:.6f}, the card says {score + off:.6f}"])


def test_a_golden_score_of_no_signal(world: World) -> None:
    """A card that names a signal there is not is told which there are."""
    world.detector("det", POWER, WHOLE, golden=[{"input": "chirp", "score": 0.1, "source": "by hand"}])
    (audit,) = examine(world, "det")
    assert audit.of("error")[0].what == "the card has a golden score of 'chirp', which is no signal"
    assert audit.of("error")[0].remedy == "signals are chirp-v1, harmonics-v1"


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        ("Unmasked", "batch mates", "alone, and 0."),
        ("Drawing", "not repeatable", "the second time"),
        ("NotANumber", "load", "are not one finite number each"),
    ],
)
def test_detectors_that_cannot_be_trusted(world: World, model: str, kind: str, told: str) -> None:
    """A score that depends on its batch, on chance, or is no number, is found without a golden one."""
    world.detector("det", f"{HERE}:{model}", WHOLE)
    (audit,) = examine(world, "det")
    findings = {finding.kind: finding for finding in audit.findings}
    assert told in findings[kind].what
    assert ("no golden" in findings) == (kind != "load")


def test_a_detector_that_masks(world: World) -> None:
    """Whole files of several lengths have the scores that each has alone."""
    world.detector("det", POWER, WHOLE)
    (audit,) = examine(world, "det")
    assert [finding.kind for finding in audit.findings] == ["no golden"]
    assert audit.facts["scores"]["chirp-v1"] == pytest.approx(0.125, abs=1e-3)  # of a sine of amplitude 0.5


@pytest.mark.parametrize(
    ("tensors", "fields", "told"),
    [
        ({"weight": torch.ones(2)}, {}, "1 tensors of another shape (weight)"),
        ({"weight": torch.ones(1), "more": torch.ones(1)}, {}, "1 tensors unknown (more)"),
        ({"weight": torch.full((1,), math.inf)}, {}, "1 tensors not finite (weight)"),
        ({"weight": torch.ones(1)}, {"sha256": "0" * 64}, "not the published w.safetensors"),
    ],
)
def test_weights_that_do_not_fit(world: World, tensors: dict[str, Tensor], fields: dict[str, str], told: str) -> None:
    """Another architecture, tensors too many, infinite ones and another file than the published are errors."""
    world.detector("det", f"{HERE}:Weighed", TILE, weights=weights(world, tensors, **fields))
    (audit,) = examine(world, "det")
    (error,) = audit.of("error")
    assert told in error.what
    assert error.remedy


def test_what_is_not_here(world: World) -> None:
    """Weights that are not here, or not yet trained, are an error only where the detector was asked for by name."""
    absent = {"file": "none.pth", "source": "its author", "licence": "MIT"}
    world.detector("det-a", f"{HERE}:Weighed", TILE, weights=absent)
    world.dataset("d", range(4))
    world.detector("det-b", "Trainable", TILE, recipe={"train": "d"})
    named = examine(world, "det-a,det-b")
    assert [(audit.absent, audit.healthy) for audit in named] == [(True, False)] * 2
    assert "the weights none.pth are not here" in named[0].text().plain
    assert "det-b: it is trained here, and was not yet\n  remedy: `bench train det-b`" in named[1].text().plain
    assert [(audit.absent, audit.healthy) for audit in examine(world, "det-*")] == [(True, True)] * 2


def test_weights_trained_here(world: World) -> None:
    """Weights that a recipe made are loaded strictly, too."""
    world.dataset("d", range(4))
    world.detector("det", "Trainable", TILE, arguments={"log": str(world.log)}, recipe={"train": "d"})
    world.cell("det", "d")
    (audit,) = examine(world, "det")
    assert audit.healthy and "trained here" in audit.text().plain
    assert audit.facts["scores"] == {"chirp-v1": 0, "harmonics-v1": 0}  # both signals begin with a zero
    (file,) = world.results.rglob("model.safetensors")
    save_file({"weight": torch.ones(2)}, file)
    (audit,) = examine(world, "det")
    assert "1 tensors of another shape (weight)" in audit.of("error")[0].what


def test_a_detector_without_samples(world: World) -> None:
    """One that reads no samples is built, and needs neither weights nor golden scores."""
    world.detector("det")
    (audit,) = examine(world, "random")
    assert (audit.findings, audit.files) == ((), 0)
    assert "needs no weights" in audit.text().plain


def test_the_released_weights(shared: Path) -> None:
    """AASIST-L gives the golden scores of its card, and a card that extends it does not inherit them."""
    workspace = Workspace(Options(weights=(shared / "golden/weights",), device="cpu"))
    (audit,) = doctor.examine_detectors(workspace, ["aasist-l"], Silent())
    assert audit.findings == ()
    assert audit.text().plain.count("golden") == 3  # two scores, and the folder
    cards = workspace.detectors
    assert {name for name, card in cards.cards.items() if card.golden} == {"aasist", "aasist-l"}
    assert {one.input for one in cards["aasist"].golden} == set(SIGNALS)
