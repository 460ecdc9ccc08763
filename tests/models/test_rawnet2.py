"""RawNet2 against the log-probabilities of the organisers' code and against its definition in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench import weights
from bench.errors import WeightsError
from bench.models.rawnet2 import RawNet2
from bench.registry import detectors
from bench.scorer import build_model

FILTS = (20, (20, 20), (20, 128), (128, 128))
SAMPLES = 64_600
TIME = np.arange(SAMPLES) / 16_000
SHORT = 0.2 * np.random.RandomState(2).randn(9000)
CLIPS = {
    "noise": 0.1 * np.random.RandomState(1).randn(SAMPLES),
    "loud noise": 0.5 * np.random.RandomState(3).randn(SAMPLES),
    "sine": 0.3 * np.sin(2 * np.pi * 220 * TIME),
    "silence": np.zeros(SAMPLES),
    "short, tiled": np.tile(SHORT, SAMPLES // len(SHORT) + 1)[:SAMPLES],
    "burst": np.where(TIME < 0.5, 0.2, 0) * np.random.RandomState(4).randn(SAMPLES),
}
# Log-probabilities of spoof and bona fide from the organisers' model.py (github.com/asvspoof-challenge/2021, commit
# 9b33f5e, `gru_node` 24 and `nb_fc_node` 16, torch 2.11 and NumPy 2 on a CPU) with the weights of `draw`.
GOLDEN = {
    "noise": (-0.3125562, -1.3151822),
    "loud noise": (-1.1847560, -0.3650250),
    "sine": (-0.4007882, -1.1080321),
    "silence": (-0.1328673, -2.0841029),
    "short, tiled": (-1.6636274, -0.2100429),
    "burst": (-0.2261032, -1.5976862),
}


def draw(model: torch.nn.Module) -> dict[str, Tensor]:
    """Weights by a seeded rule, large enough for every clip to score differently."""
    random = np.random.RandomState(6)
    tensors = {}
    for name, old in sorted(model.state_dict().items()):
        values = random.standard_normal(tuple(old.shape))
        if name.endswith("running_var"):
            values = (0.02 if name.startswith("first_bn") else 1) * np.exp(0.3 * values)
        elif old.ndim > 1:
            values *= 1.4 / np.sqrt(values[0].size)
        elif name.endswith("weight"):
            values = 1 + 0.1 * values
        elif old.is_floating_point():
            values *= 0.1
        tensors[name] = torch.from_numpy(np.asarray(values)).to(old.dtype)
    return tensors


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return draw(RawNet2(1024, FILTS, 24, 3, 16))


@pytest.fixture(scope="module")
def model(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> RawNet2:
    """A small tail; loaded as the harness loads a released file."""
    file = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(tensors, file)
    network = RawNet2(1024, FILTS, 24, 3, 16)
    weights.load_into(network, weights.read(file), file)
    return network.eval()


def wave_of(*names: str) -> Tensor:
    return torch.from_numpy(np.stack([CLIPS[name] for name in names])).float()


@torch.inference_mode()
def scores(model: RawNet2, wave: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score and margin of each row."""
    out = model(wave, torch.full((len(wave),), wave.shape[1]))
    return out.scores.numpy(), out.extras["margin"].numpy()


class Definition:
    """The network in float64, written from its description: one clip (N,) -> log-probabilities of spoof, bona fide."""

    def __init__(self, tensors: dict[str, Tensor], *, repaired: bool = False) -> None:
        self.tensors = {name: tensor.double() for name, tensor in tensors.items()}
        self.repaired = repaired

    def __call__(self, wave: NDArray[np.float64]) -> NDArray[np.float64]:
        x = functional.conv1d(torch.from_numpy(wave)[None, None], self.filters())
        x = functional.selu(self.norm("first_bn", functional.max_pool1d(x.abs(), 3)))
        for index in range(6):
            x = self.block(f"block{index}.0", x, first=index == 0)
            gate = torch.sigmoid(self.linear(f"fc_attention{index}.0", x.mean(2)))[..., None]
            x = x * gate + gate
        x = functional.selu(self.norm("bn_before_gru", x))[0].T
        for layer in range(3):
            x = self.recurrent(x, layer)
        return torch.log_softmax(self.linear("fc2_gru", self.linear("fc1_gru", x[-1])), dim=0).numpy()

    @staticmethod
    def filters() -> Tensor:
        edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 21) / 2595) - 1)
        time = np.arange(-512, 513) / 16_000
        low_pass = [2 * edge / 16_000 * np.sinc(2 * edge * time) for edge in edges]
        return torch.from_numpy(np.diff(low_pass, axis=0) * np.hamming(1025))[:, None]

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, variance, scale, shift = (
            self.tensors[f"{name}.{part}"][:, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def convolved(self, name: str, x: Tensor) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        return functional.conv1d(x, weight, self.tensors[f"{name}.bias"], padding=weight.shape[2] // 2)

    def block(self, name: str, x: Tensor, *, first: bool) -> Tensor:
        seen = x if first or not self.repaired else functional.leaky_relu(self.norm(f"{name}.bn1", x), 0.3)
        hidden = functional.leaky_relu(self.norm(f"{name}.bn2", self.convolved(f"{name}.conv1", seen)), 0.3)
        shortcut = self.convolved(f"{name}.conv_downsample", x) if f"{name}.conv_downsample.bias" in self.tensors else x
        return functional.max_pool1d(self.convolved(f"{name}.conv2", hidden) + shortcut, 3)

    def recurrent(self, x: Tensor, layer: int) -> Tensor:
        w_in, w_hidden, b_in, b_hidden = (
            self.tensors[f"gru.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        hidden, states = torch.zeros(w_hidden.shape[1], dtype=torch.float64), []
        for frame in x:
            reset_in, update_in, new_in = (w_in @ frame + b_in).chunk(3)
            reset_hidden, update_hidden, new_hidden = (w_hidden @ hidden + b_hidden).chunk(3)
            update = torch.sigmoid(update_in + update_hidden)
            new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_hidden) * new_hidden)
            hidden = (1 - update) * new + update * hidden
            states.append(hidden)
        return torch.stack(states)


def test_log_probabilities_of_the_organisers(model: RawNet2) -> None:
    """Score and margin are those of the organisers' code, within 1e-5."""
    score, margin = scores(model, wave_of(*GOLDEN))
    spoof, bonafide = np.array(list(GOLDEN.values())).T
    np.testing.assert_allclose(score, bonafide, rtol=0, atol=1e-5)
    np.testing.assert_allclose(margin, bonafide - spoof, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", CLIPS)
def test_definition(model: RawNet2, tensors: dict[str, Tensor], name: str) -> None:
    """The score is the log-probability of the definition, computed in float64, within 1e-5."""
    score, _ = scores(model, wave_of(name))
    np.testing.assert_allclose(score[0], Definition(tensors)(CLIPS[name])[1], rtol=0, atol=1e-5)


def test_repairing_conv1_changes_the_score(model: RawNet2, tensors: dict[str, Tensor]) -> None:
    """A block's first convolution sees the untouched input: fed with bn1 and its activation, scores would be others."""
    score, _ = scores(model, wave_of("noise"))
    assert abs(score[0] - Definition(tensors, repaired=True)(CLIPS["noise"])[1]) > 0.01


@settings(deadline=None, max_examples=25)
@given(samples=st.integers(1025, 6000), rows=st.integers(1, 3))
def test_filtering_by_fourier_transforms(samples: int, rows: int) -> None:
    """Overlapping transforms give the direct correlation with the sinc filters, whatever the length of the clip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RawNet2, "BLOCK", 2048)
        network = RawNet2(1024, FILTS, 2, 1, 2)
        wave = torch.from_numpy(0.1 * np.random.RandomState(samples).randn(rows, samples))
        filtered = network._filter(wave.float())
    expected = functional.conv1d(wave[:, None], Definition.filters())
    torch.testing.assert_close(filtered.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["rawnet2-la", "rawnet2-df"])
def test_size(name: str) -> None:
    """Both cards describe the network of 119 tensors and 17,621,410 parameters; the filters are not stored."""
    card = detectors()[name]
    network = build_model(card.model, card.arguments, name)
    assert len(network.state_dict()) == 119
    assert sum(parameter.numel() for parameter in network.parameters()) == card.parameters == 17_621_410
    assert not any("sinc" in key.lower() for key in network.state_dict())


def test_arguments_are_left_alone() -> None:
    """Building from the arguments of a card does not change them, so that a second network is of the same shape."""
    arguments = detectors()["rawnet2-la"].arguments
    before = repr(arguments)
    shapes = [{k: v.shape for k, v in RawNet2(**arguments).state_dict().items()} for _ in range(2)]
    assert repr(arguments) == before
    assert shapes[0] == shapes[1]


def test_batch_does_not_matter(model: RawNet2) -> None:
    """A batch scores as its clips alone, within 1e-5, with and without autograd."""
    wave = wave_of(*CLIPS)[:, :20_000]
    alone = np.concatenate([scores(model, row[None])[0] for row in wave])
    assert np.ptp(alone) > 0.01
    np.testing.assert_allclose(scores(model, wave)[0], alone, rtol=0, atol=1e-5)
    with torch.enable_grad():
        whole = model(wave, torch.full((len(wave),), 20_000)).scores.detach().numpy()
    np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-5)


def test_margin_keeps_the_order_where_the_score_has_none(model: RawNet2) -> None:
    """The score is at most 0 and ties there when the network is sure; the margins of these clips still differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.fc2_gru, "bias", torch.nn.Parameter(torch.tensor([-20.0, 20.0])))
        score, margin = scores(model, wave_of("noise", "sine")[:, :20_000])
    assert score.tolist() == [0, 0]
    assert margin[0] != margin[1]


def test_a_tensor_that_is_missing_is_named(tensors: dict[str, Tensor]) -> None:
    """A checkpoint without one of the tensors is refused, and the error names it."""
    rest = {name: tensor for name, tensor in tensors.items() if name != "block3.0.conv2.weight"}
    with pytest.raises(WeightsError, match=r"1 tensors missing \(block3\.0\.conv2\.weight\)"):
        weights.load_into(RawNet2(1024, FILTS, 24, 3, 16), rest, Path("small.pth"))


def test_trains() -> None:
    """In training every weight gets a gradient but bn1's, whose output is discarded; bn1 still counts its batches."""
    network = RawNet2(1024, FILTS, 8, 1, 4).train()
    network(wave_of("noise", "sine")[:, :8000], torch.full((2,), 8000)).scores.sum().backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {f"block{block}.0.bn1.{kind}" for block in range(1, 6) for kind in ("weight", "bias")}
    assert network.state_dict()["block5.0.bn1.num_batches_tracked"] == 1
