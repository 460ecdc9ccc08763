"""SLS against its steps written out in NumPy, and the mistakes that would pass unnoticed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.models import Output
from bench.models.sls import SLS
from tests.models.steps import Array, noise, selu

TINY = {"layers": 3, "width": 32, "feed_forward": 48, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}
SAMPLES = 64_600


def build(seed: int = 0) -> SLS:
    """Nothing where it starts: norms, gates and classifier are drawn anew."""
    model = SLS(TINY, hidden=24)
    model.backbone.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.startswith("backbone."):
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
            elif value.is_floating_point():
                spread = 0.05 if name == "fc1.weight" else 0.3
                value.copy_(spread * torch.randn(value.shape, generator=generator))
        model.first_bn.get_buffer("running_var").abs_().add_(0.5)
        model.first_bn.weight.abs_().add_(0.5)
    return model.eval()


@torch.inference_mode()
def scores(model: SLS, wave: Tensor) -> Tensor:
    out: Output = model(wave, torch.full((len(wave),), wave.shape[1]))
    return out.scores


def log_softmax(x: Array) -> Array:
    return x - float(np.log(np.exp(x).sum()))


def by_hand(
    model: SLS, blocks: list[Array], *, normalised_gates: bool = False, last_selu: bool = True
) -> tuple[Array, Array]:
    """Blocks (frames, width) of one clip -> log-probabilities and logits (2,), step by step in float64.

    The two options are mistakes.
    """
    state = {key: value.double().numpy() for key, value in model.state_dict().items() if "backbone." not in key}
    gates = []
    for block in blocks:
        pooled = block.sum(0) / len(block)
        gates.append(1 / (1 + math.exp(-float(state["fc0.weight"][0] @ pooled + state["fc0.bias"][0]))))
    if normalised_gates:
        gates = [gate / sum(gates) for gate in gates]
    mixed = np.zeros_like(blocks[0])
    for gate, block in zip(gates, blocks, strict=True):
        mixed += gate * block
    mean, variance = state["first_bn.running_mean"][0], state["first_bn.running_var"][0]
    maps = selu((mixed - mean) / math.sqrt(variance + 1e-5) * state["first_bn.weight"][0] + state["first_bn.bias"][0])
    rows, columns = maps.shape[0] // 3, maps.shape[1] // 3
    pooled = np.array(
        [[maps[3 * i : 3 * i + 3, 3 * j : 3 * j + 3].max() for j in range(columns)] for i in range(rows)]
    ).ravel()
    hidden = selu(state["fc1.weight"] @ pooled + state["fc1.bias"])
    logits = state["fc3.weight"] @ hidden + state["fc3.bias"]
    if last_selu:
        logits = selu(logits)
    return log_softmax(logits), logits


@torch.inference_mode()
def block_outputs(model: SLS, wave: Tensor) -> list[Array]:
    """Outputs of the blocks for one clip, caught where they leave the block."""
    caught: list[Array] = []
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out: caught.append((out[0] if isinstance(out, tuple) else out)[0].double().numpy())
        )
        for layer in model.backbone.encoder.layers
    ]
    model.backbone(wave[None])
    for hook in hooks:
        hook.remove()
    return caught


@pytest.mark.parametrize("seed", range(4))
@torch.inference_mode()
def test_the_score_is_the_log_probability_of_bona_fide(seed: int) -> None:
    """Column 1 of the log-softmax of the steps by hand, within 2e-5; `logits` are what it is taken of."""
    model, wave = build(seed), noise(2, SAMPLES, seed=seed)
    logits = model.logits(wave, torch.full((2,), SAMPLES))
    for row, score in enumerate(scores(model, wave)):
        log_probabilities, expected = by_hand(model, block_outputs(model, wave[row]))
        np.testing.assert_allclose(logits[row], expected, rtol=0, atol=2e-5)
        assert float(score) == pytest.approx(log_probabilities[1], abs=2e-5)
        assert math.exp(log_probabilities[0]) + math.exp(log_probabilities[1]) == pytest.approx(1)


def test_the_mistakes_that_are_easily_made_change_the_score() -> None:
    """The last norm on the last block, gates that sum to 1, no SELU at the end, the other class, a normalised file:
    each is another number, so the tests above would notice."""
    changes = []
    for seed in range(4):
        model, wave = build(seed), noise(SAMPLES, seed=seed)
        blocks = block_outputs(model, wave)
        score = float(scores(model, wave[None])[0])
        with torch.inference_mode():
            normed = model.backbone(wave[None])[0][0].double().numpy()
        mistakes = {
            "final norm": by_hand(model, [*blocks[:-1], normed])[0][1],
            "one block less": by_hand(model, blocks[:-1])[0][1],
            "gates": by_hand(model, blocks, normalised_gates=True)[0][1],
            "selu": by_hand(model, blocks, last_selu=False)[0][1],
            "class": by_hand(model, blocks)[0][0],
            "normalised": float(scores(model, ((wave - wave.mean()) / wave.std())[None])[0]),
        }
        changes.append({name: abs(value - score) for name, value in mistakes.items()})
    for name in changes[0]:
        assert max(change[name] for change in changes) > 3e-3, name


@given(shift=st.floats(-90, -20), seed=st.integers(0, 3))
@settings(deadline=None, max_examples=10)
def test_very_negative_logits_tie_at_even_odds(shift: float, seed: int) -> None:
    """SELU has a floor, so that all such trials have the same score: ln 0.5, to the last bit."""
    model = build()
    with torch.no_grad():
        model.fc3.bias.fill_(shift)
        model.fc3.weight.mul_(0.01)
    found = scores(model, noise(2, SAMPLES, seed=seed))
    assert found.tolist() == [float(torch.tensor(0.5).log())] * 2


def test_a_score_is_a_log_probability_and_not_saturated() -> None:
    """At most 0, and confident spoof keeps its order where a float32 probability would be 0 for all."""
    model, wave = build(), noise(3, SAMPLES)
    with torch.no_grad():
        model.fc3.weight.mul_(400)
        model.fc3.bias.copy_(torch.tensor([900.0, 0.0]))
    found = scores(model, wave)
    assert (found < -110).all() and len(set(found.tolist())) == 3
    assert (found.exp() == 0).all()


@torch.inference_mode()
def test_a_score_does_not_depend_on_its_batch() -> None:
    """Beside noise, silence and a loud clip, within 1e-5 of the clip alone."""
    model = build()
    batch = torch.cat([noise(2, SAMPLES), torch.zeros(1, SAMPLES), noise(1, SAMPLES, seed=9) * 20])
    alone = torch.cat([scores(model, batch[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(scores(model, batch), alone, rtol=0, atol=1e-5)
    assert len(set(alone.tolist())) == 4


@pytest.mark.parametrize(("hops", "fits"), [(-1, False), (0, True), (1, True), (2, True), (3, False)])
def test_the_classifier_fits_201_to_203_frames(hops: int, fits: bool) -> None:
    """Any other window raises and gives no score."""
    model, wave = build(), noise(1, SAMPLES + 320 * hops)
    if fits:
        assert scores(model, wave).isfinite().all()
    else:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            scores(model, wave)


@torch.inference_mode()
def test_the_lengths_are_not_looked_at() -> None:
    """Every sample of a tiled window is real."""
    model, wave = build(), noise(2, SAMPLES)
    assert torch.equal(model(wave, torch.tensor([SAMPLES, 1_000])).scores, scores(model, wave))


def test_size_of_the_full_model() -> None:
    """Names and shapes of the published checkpoint beside its backbone, 23,399,429 parameters, 433 tensors in all."""
    with torch.device("meta"):
        model = SLS("xls-r-300m")
    state = model.state_dict()
    head = {name: tuple(value.shape) for name, value in state.items() if not name.startswith("backbone.")}
    assert head == {
        **{f"first_bn.{name}": (1,) for name in ("weight", "bias", "running_mean", "running_var")},
        "first_bn.num_batches_tracked": (),
        "fc0.weight": (1, 1024),
        "fc0.bias": (1,),
        "fc1.weight": (1024, 22_847),
        "fc1.bias": (1024,),
        "fc3.weight": (2, 1024),
        "fc3.bias": (2,),
    }
    assert sum(value.numel() for name, value in model.named_parameters() if "backbone." not in name) == 23_399_429
    assert len(state) == 440 - 7  # less the quantizer and the projections of pre-training
