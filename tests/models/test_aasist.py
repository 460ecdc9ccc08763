"""AASIST against the logits of the authors' code, and the fast path against the plain network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench.models.aasist import AASIST, ResidualBlock, selu, sinc_bank
from bench.registry import detectors

SAMPLES = 64_600
CARDS = {"AASIST": "aasist", "AASIST-L": "aasist-l"}
NOISE = (np.random.RandomState(0).randn(3, SAMPLES) * [[0.1], [0.01], [0.5]]).astype(np.float32)


def build(name: str) -> AASIST:
    torch.manual_seed(0)
    return AASIST(**detectors()[CARDS[name]].arguments).eval()


def released(name: str, shared: Path) -> AASIST:
    model = build(name)
    model.load_state_dict(torch.load(shared / "golden" / "weights" / f"{name}.pth", map_location="cpu"), strict=True)
    return model


def tiled(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.tile(samples, SAMPLES // len(samples) + 1)[:SAMPLES]


@torch.inference_mode()
def logits(model: AASIST, wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Columns spoof, bona fide."""
    out = model(torch.from_numpy(wave), torch.full((len(wave),), wave.shape[1]))
    return torch.stack([out.scores - out.extras["margin"], out.scores], dim=1).numpy()


@pytest.fixture(scope="module", params=sorted(CARDS))
def golden(request: pytest.FixtureRequest, shared: Path) -> Iterator[tuple[AASIST, str, dict[str, Any]]]:
    reference = json.loads((shared / "golden" / "aasist.json").read_text())
    yield released(request.param, shared), request.param, reference


def test_logits_of_the_authors(golden: tuple[AASIST, str, dict[str, Any]]) -> None:
    """On the fixed inputs both logits are those of the authors' code, within 1e-5."""
    model, name, reference = golden
    waves = []
    for entry in reference["inputs"]:
        wave = eval(entry["recipe"], {"np": np, "sum": sum, "range": range})
        np.testing.assert_allclose(wave[:3], entry["first3"], rtol=1e-5, atol=1e-7)
        waves.append(tiled(wave))
    expected = [entry["output"][name] for entry in reference["inputs"]]
    np.testing.assert_allclose(logits(model, np.stack(waves)), expected, rtol=0, atol=1e-5)


def test_scores_of_real_audio(golden: tuple[AASIST, str, dict[str, Any]], shared: Path) -> None:
    """16 kHz files of the small In-the-Wild corpus, long and short, score as with the authors' code, within 1e-5."""
    model, name, _ = golden
    audio = shared / "corpora" / "itw" / "release_in_the_wild"
    lines = (shared / "golden" / f"{name.lower()}_itw_scores.txt").read_text().splitlines()
    waves: dict[bool, list[NDArray[np.float32]]] = {True: [], False: []}
    expected: dict[bool, list[float]] = {True: [], False: []}
    for file, score in map(str.split, lines):
        samples, rate = soundfile.read(audio / file, dtype="float32")
        short = len(samples) < SAMPLES
        if rate == 16_000 and len(waves[short]) < 2:
            waves[short].append(tiled(samples))
            expected[short].append(float(score))
    assert len(waves[True]) == len(waves[False]) == 2
    for short in waves:
        np.testing.assert_allclose(logits(model, np.stack(waves[short]))[:, 1], expected[short], rtol=0, atol=1e-5)


def test_repairing_conv1_flips_the_decision(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's first convolution must see the untouched input: fed with bn1 and SELU, it gives other, known logits."""
    model = released("AASIST", shared)
    np.testing.assert_allclose(logits(model, NOISE[1:2]), [[-2.887617, 1.590423]], rtol=0, atol=1e-5)

    def repaired(block: ResidualBlock, x: Tensor) -> Tensor:
        seen = functional.selu(block.bn1(x)) if hasattr(block, "bn1") else x
        shortcut = block.conv_downsample(x) if hasattr(block, "conv_downsample") else x
        out = block.conv2(functional.selu(block.bn2(block.conv1(seen)))) + shortcut
        return functional.max_pool2d(out, (1, 3))

    monkeypatch.setattr(ResidualBlock, "forward", repaired)
    np.testing.assert_allclose(logits(model, NOISE[1:2]), [[0.512, -1.157]], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("name", "parameters"), [("AASIST", 297_866), ("AASIST-L", 85_306)])
def test_size(name: str, parameters: int) -> None:
    """Both cards describe networks of 229 tensors and the published number of parameters; filters are not stored."""
    model = build(name)
    assert len(model.state_dict()) == 229
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert not any("sinc" in key for key in model.state_dict())


def test_batch_does_not_matter() -> None:
    """A batch scores as its clips alone, within 1e-5, whatever lies beside them."""
    model = build("AASIST")
    batch = np.concatenate([NOISE[:, :20_000], np.zeros((1, 20_000), np.float32)])
    alone = np.concatenate([logits(model, batch[row : row + 1]) for row in range(len(batch))])
    assert np.ptp(alone[:, 1]) > 1e-3
    np.testing.assert_allclose(logits(model, batch), alone, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(steps=st.integers(3, 60), channels=st.sampled_from([(1, 8), (8, 8), (8, 4)]), pool=st.sampled_from([1, 3]))
def test_tiles_and_folding_change_nothing(steps: int, channels: tuple[int, int], pool: int) -> None:
    """A block computes the same with and without autograd, for every length relative to the tiles."""
    torch.manual_seed(steps)
    block = ResidualBlock(channels, first=channels[0] == 1, pool=pool).eval()
    torch.nn.init.normal_(block.bn2.get_buffer("running_mean"))
    torch.nn.init.uniform_(block.bn2.get_buffer("running_var"), 0.5, 2)
    torch.nn.init.normal_(block.bn2.weight)
    x = torch.randn(2, channels[0], 5, steps)
    plain = block(x)
    assert plain.shape == (2, channels[1], 5, steps // pool)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(ResidualBlock, "TILE", 9)
        torch.testing.assert_close(block(x), plain.detach(), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_selu() -> None:
    """The activation is torch's SELU, within 3e-7 absolutely and relatively; its input stays as it is."""
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.tensor([-torch.inf, torch.inf, -1e4, 1e4, 0.0, 1e-30])])
    before = x.clone()
    torch.testing.assert_close(selu(x), functional.selu(x), rtol=3e-7, atol=3e-7)
    assert torch.equal(x, before)
    assert selu(torch.tensor([torch.nan])).isnan().all()


def test_sinc_bank() -> None:
    """The filters are mel-spaced differences of two ideal low-passes under a Hamming window, as NumPy computes them."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 71) / 2595) - 1)
    time = np.arange(-64, 65) / 16_000
    for row, low, high in zip(sinc_bank(70, 129)[:, 0].numpy(), edges[:-1], edges[1:], strict=True):
        expected = (2 * high * np.sinc(2 * high * time) - 2 * low * np.sinc(2 * low * time)) / 16_000 * np.hamming(129)
        np.testing.assert_allclose(row, expected, rtol=0, atol=3e-7)


def test_trains() -> None:
    """In training every weight gets a gradient but bn1's, whose output is discarded; bn1 still counts its batches."""
    model = build("AASIST-L").train()
    out = model(torch.from_numpy(NOISE[:, :8000]), torch.full((3,), 8000))
    out.extras["margin"].sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {f"encoder.{block}.0.bn1.{kind}" for block in range(1, 6) for kind in ("weight", "bias")}
    assert model.state_dict()["encoder.5.0.bn1.num_batches_tracked"] == 1
