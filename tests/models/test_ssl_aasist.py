"""SSL + AASIST against its steps written out in NumPy, from the last hidden state to the logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.models import Output
from bench.models.ssl_aasist import SSLAASIST
from tests.models.steps import Array, noise, selu

TINY = {"layers": 2, "width": 32, "feed_forward": 48, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}
SAMPLES = 64_600


def build(seed: int = 0) -> SSLAASIST:
    """Nothing where it starts; convolutions and projections about as large as they are drawn by torch."""
    model = SSLAASIST(TINY)
    model.backbone.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            random = torch.randn(value.shape, generator=generator)
            if name.startswith("backbone."):
                value.add_(0.1 * random)
            elif name.endswith("running_var"):
                value.copy_(0.5 + random.abs())
            elif value.is_floating_point():
                norm = value.dim() == 1 and name.endswith("weight")
                value.copy_(1 + 0.3 * random if norm else random / math.sqrt(max(value[0].numel(), 4)))
    return model.eval()


@pytest.fixture(scope="module")
def model() -> SSLAASIST:
    return build()


@torch.inference_mode()
def output(model: SSLAASIST, wave: Tensor) -> Output:
    out: Output = model(wave, torch.full((len(wave),), wave.shape[1]))
    return out


# --- the steps, one clip at a time, in float64 ----------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    inverse: Array = 1 + np.exp(-x)
    return 1 / inverse


def softmax(x: Array, axis: int) -> Array:
    powers: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    powers /= powers.sum(axis=axis, keepdims=True)
    return powers


class ByHand:
    """The steps of the paper's code with the weights of a model; names of weights are the authors'."""

    def __init__(self, model: SSLAASIST, *, repaired: bool = False) -> None:
        self.weights: dict[str, Array] = {
            key: value.double().numpy() for key, value in model.state_dict().items() if not key.startswith("backbone.")
        }
        self.repaired = repaired  # a mistake, see `block`

    def linear(self, name: str, x: Array) -> Array:
        """(..., in) -> (..., out)."""
        result: Array = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return result

    def norm(self, name: str, x: Array, axis: int) -> Array:
        """A batch norm in evaluation, channels along `axis`."""
        shape = [1] * x.ndim
        shape[axis] = -1
        mean, variance, weight, bias = (
            self.weights[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
        )
        result: Array = (x - mean) / np.sqrt(variance + 1e-5) * weight + bias
        return result

    def convolution(self, name: str, x: Array, padding: tuple[int, int]) -> Array:
        """(C in, F, T) -> (C out, F', T'), stride 1."""
        kernel = self.weights[f"{name}.weight"]
        padded = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
        rows, columns = padded.shape[1] - kernel.shape[2] + 1, padded.shape[2] - kernel.shape[3] + 1
        result = np.zeros((len(kernel), rows, columns)) + self.weights[f"{name}.bias"][:, None, None]
        for i in range(kernel.shape[2]):
            for j in range(kernel.shape[3]):
                seen = padded[:, i : i + rows, j : j + columns].reshape(len(padded), -1)
                result += (kernel[:, :, i, j] @ seen).reshape(result.shape)
        return result

    def block(self, number: int, x: Array) -> Array:
        """conv1 sees the untouched input, whatever bn1 gives; there is no pooling."""
        name, seen = f"encoder.{number}.0", x
        if self.repaired and number > 0:
            seen = selu(self.norm(f"{name}.bn1", x, 0))
        hidden = selu(self.norm(f"{name}.bn2", self.convolution(f"{name}.conv1", seen, (1, 1)), 0))
        hidden = self.convolution(f"{name}.conv2", hidden, (0, 1))
        if f"{name}.conv_downsample.weight" in self.weights:
            x = self.convolution(f"{name}.conv_downsample", x, (0, 1))
        return hidden + x

    def graph(self, name: str, x: Array) -> Array:
        """Attention of every node to every node, temperature 2."""
        nodes = len(x)
        logits = np.zeros((nodes, nodes))
        for i in range(nodes):
            logits[i] = (np.tanh(self.linear(f"{name}.att_proj", x[i] * x)) @ self.weights[f"{name}.att_weight"])[:, 0]
        attention = softmax(logits / 2, axis=1)
        x = self.linear(f"{name}.proj_with_att", attention @ x) + self.linear(f"{name}.proj_without_att", x)
        return selu(self.norm(f"{name}.bn", x, 1))

    def pool(self, name: str, x: Array) -> Array:
        """Half of the nodes, the best first, each times its score."""
        scores = sigmoid(self.linear(f"{name}.proj", x))[:, 0]
        kept = sorted(range(len(x)), key=lambda node: -scores[node])[: max(len(x) // 2, 1)]
        return np.array([x[node] * scores[node] for node in kept])

    def pair(self, name: str, first: Array, second: Array, master: Array) -> tuple[Array, Array, Array]:
        """Attention within and between two kinds of nodes, temperature 100; the master listens to all."""
        x = np.concatenate([self.linear(f"{name}.proj_type1", first), self.linear(f"{name}.proj_type2", second)])
        boundary, logits = len(first), np.zeros((len(x), len(x)))
        for i in range(len(x)):
            products = np.tanh(self.linear(f"{name}.att_proj", x[i] * x))
            to_first, to_second = ("11", "12") if i < boundary else ("12", "22")
            logits[i, :boundary] = products[:boundary] @ self.weights[f"{name}.att_weight{to_first}"][:, 0]
            logits[i, boundary:] = products[boundary:] @ self.weights[f"{name}.att_weight{to_second}"][:, 0]
        heard = np.tanh(self.linear(f"{name}.att_projM", x * master)) @ self.weights[f"{name}.att_weightM"]
        listened = (softmax(heard / 100, axis=0) * x).sum(0, keepdims=True)
        master = self.linear(f"{name}.proj_with_attM", listened) + self.linear(f"{name}.proj_without_attM", master)
        x = self.linear(f"{name}.proj_with_att", softmax(logits / 100, axis=1) @ x) + self.linear(
            f"{name}.proj_without_att", x
        )
        x = selu(self.norm(f"{name}.bn", x, 1))
        return x[:boundary], x[boundary:], master

    def branch(self, number: int, temporal: Array, spectral: Array) -> tuple[Array, Array, Array]:
        t, s, master = self.pair(f"HtrgGAT_layer_ST{number}1", temporal, spectral, self.weights[f"master{number}"][0])
        t, s = self.pool(f"pool_hT{number}", t), self.pool(f"pool_hS{number}", s)
        more_t, more_s, more = self.pair(f"HtrgGAT_layer_ST{number}2", t, s, master)
        return t + more_t, s + more_s, master + more

    def maps(self, hidden: Array) -> Array:
        """Last hidden state (201, width) -> (64, 42, 67)."""
        features = self.linear("LL", hidden).T
        pooled = np.array(
            [[features[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].max() for j in range(67)] for i in range(42)]
        )
        x = selu(self.norm("first_bn", pooled[None], 0))
        for number in range(6):
            x = self.block(number, x)
        return selu(self.norm("first_bn1", x, 0))

    def logits(self, hidden: Array, *, peaks: bool = False) -> Array:
        """Spoof and bona fide (2,); `peaks` is a mistake: AASIST's maxima instead of attention."""
        x = self.maps(hidden)
        weights = self.convolution("attention.0", x, (0, 0))
        weights = self.convolution("attention.3", self.norm("attention.2", selu(weights), 0), (0, 0))
        spectral = np.abs(x).max(2).T if peaks else (x * softmax(weights, axis=2)).sum(2).T
        temporal = np.abs(x).max(1).T if peaks else (x * softmax(weights, axis=1)).sum(1).T
        spectral = self.pool("pool_S", self.graph("GAT_layer_S", spectral + self.weights["pos_S"][0]))
        temporal = self.pool("pool_T", self.graph("GAT_layer_T", temporal))
        assert (len(spectral), len(temporal)) == (21, 33)
        ends = zip(self.branch(1, temporal, spectral), self.branch(2, temporal, spectral), strict=True)
        t, s, master = (np.maximum(one, two) for one, two in ends)
        summary = np.concatenate([np.abs(t).max(0), t.mean(0), np.abs(s).max(0), s.mean(0), master[0]])
        return self.linear("out_layer", summary)


@torch.inference_mode()
def hidden_state(model: SSLAASIST, wave: Tensor) -> Array:
    hidden: Array = model.backbone(wave[None])[0][0].double().numpy()
    return hidden


# --- tests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_the_score_is_the_logit_of_bona_fide(seed: int) -> None:
    """Column 1 of the logits by hand, and beside it the margin over spoof, within 2e-5."""
    model, wave = build(seed), noise(2, SAMPLES, seed=seed)
    out = output(model, wave)
    assert list(out.extras) == ["margin"] and out.scores.shape == (2,)
    for row in range(2):
        spoof, bonafide = ByHand(model).logits(hidden_state(model, wave[row]))
        assert float(out.scores[row]) == pytest.approx(bonafide, abs=2e-5)
        assert float(out.extras["margin"][row]) == pytest.approx(bonafide - spoof, abs=2e-5)
    assert abs(float(out.scores[0] - out.scores[1])) > 1e-3


def test_the_mistakes_that_are_easily_made_change_the_score(model: SSLAASIST) -> None:
    """The state before the last norm, the other class, a repaired first convolution, maxima, a normalised file."""
    wave = noise(SAMPLES)
    score, margin = float(output(model, wave[None]).scores[0]), float(output(model, wave[None]).extras["margin"][0])
    hidden = hidden_state(model, wave)
    with torch.inference_mode():
        *_, last = model.backbone.blocks(wave[None])
    mistakes = {
        "norm": ByHand(model).logits(last[0].double().numpy())[1],
        "class": score - margin,
        "conv1": ByHand(model, repaired=True).logits(hidden)[1],
        "maxima": ByHand(model).logits(hidden, peaks=True)[1],
        "normalised": float(output(model, ((wave - wave.mean()) / wave.std())[None]).scores[0]),
    }
    for name, value in mistakes.items():
        assert abs(value - score) > 1e-3, name


def test_a_score_does_not_depend_on_its_batch(model: SSLAASIST) -> None:
    """Beside noise, silence and a loud clip, within 1e-5 of the clip alone."""
    batch = torch.cat([noise(2, SAMPLES), torch.zeros(1, SAMPLES), noise(1, SAMPLES, seed=9) * 20])
    alone = torch.cat([output(model, batch[row : row + 1]).scores for row in range(4)])
    torch.testing.assert_close(output(model, batch).scores, alone, rtol=0, atol=1e-5)
    assert len(set(alone.tolist())) == 4


def test_with_and_without_autograd_it_is_the_same_network(model: SSLAASIST) -> None:
    """The folded path of scoring and the plain one of training, within 1e-5."""
    wave = noise(2, SAMPLES)
    trained: Output = model(wave, torch.tensor([SAMPLES] * 2))
    assert trained.scores.requires_grad
    torch.testing.assert_close(output(model, wave).scores, trained.scores.detach(), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_lengths_are_not_looked_at(model: SSLAASIST) -> None:
    """Every sample of a tiled window is real."""
    wave = noise(2, SAMPLES)
    assert torch.equal(model(wave, torch.tensor([SAMPLES, 1_000])).scores, output(model, wave).scores)


def test_size_of_the_head() -> None:
    """245 tensors and 447,242 parameters beside the backbone, shapes of the published checkpoints among them."""
    with torch.device("meta"):
        model = SSLAASIST("xls-r-300m")
    head = {name: value for name, value in model.state_dict().items() if not name.startswith("backbone.")}
    assert len(head) == 245
    assert sum(value.numel() for name, value in model.named_parameters() if name in head) == 447_242
    shapes: dict[str, Any] = {
        "LL.weight": (128, 1024),
        "pos_S": (1, 42, 64),
        "attention.0.weight": (128, 64, 1, 1),
        "attention.2.weight": (128,),
        "attention.3.weight": (64, 128, 1, 1),
        "out_layer.weight": (2, 160),
    }
    assert {name: tuple(head[name].shape) for name in shapes} == shapes
    assert not any("conv_downsample" in name for name in head if name.startswith(("encoder.1.", "encoder.3.")))
