"""SLIM against numpy and transformers, its two losses, and what each stage trains."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import registry, weights
from bench.errors import CardError, DataError, UsageError, WeightsError
from bench.models.slim import STAGES, AttentiveStatistics, Compression, Slim, self_contrastive
from bench.models.wav2vec2 import architecture
from bench.scorer import build_model

Array = NDArray[np.float64]
TINY = {"layers": 4, "width": 32, "feed_forward": 64, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}
SAMPLES = 4000  # 12 frames
CARDS = ("slim", "slim-finetuned")
ARGUMENTS: dict[str, Any] = {
    **registry.detectors()["slim"].arguments,
    "encoder": TINY,
    "style_layers": [0, 1],
    "linguistics_layers": [1, 2],
    "features": 8,
    "attention": 6,
    "mlp": [5],
    "head": [7],
}
SELECTED = (("style", 0), ("style", 1), ("linguistics", 1), ("linguistics", 2))  # the blocks of these layers
OPTIONS: dict[str, Any] = {"weight": 0.007, "divisor": "batch", "cross": "frames"}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Every parameter and every running statistic away from where it starts; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and ".encoder." not in f".{name}":
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    module.train(False)


def build(seed: int = 0, **changes: Any) -> Slim:
    model = Slim(**ARGUMENTS | changes)
    model.style.encoder.initialise(seed)
    model.linguistics.encoder.initialise(seed + 1)
    randomise(model, seed)
    return model


@pytest.fixture(scope="module")
def model() -> Slim:
    return build()


def learn(model: Slim, stage: str) -> dict[str, nn.Parameter]:
    """The model as a stage of training has it; the parameters that the stage trains, by name."""
    model.eval().requires_grad_(False)
    for module in (module for group in model.trainable(stage).values() for module in group):
        module.train().requires_grad_(True)
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def array(x: Tensor) -> Array:
    return x.detach().double().numpy()


def linear(layer: nn.Module, x: Array) -> Array:
    assert isinstance(layer, nn.Linear)
    return x @ array(layer.weight).T + array(layer.bias)


def normed(layer: nn.BatchNorm1d, x: Array) -> Array:
    state = {name: array(value) for name, value in layer.state_dict().items()}
    out = (x - state["running_mean"]) / np.sqrt(state["running_var"] + 1e-5)
    return out * state.get("weight", 1.0) + state.get("bias", 0.0)


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.01 * x)


def compressed(module: Compression, x: Array) -> Array:
    x = x + linear(module.up, leaky(normed(module.norm, linear(module.down, x))))
    return linear(module.out, leaky(x))


def pooled(module: AttentiveStatistics, x: Array, context: bool = True) -> Array:
    """One utterance (T, D) -> (2 D,)."""
    whole = [np.tile(part, (len(x), 1)) for part in (x.mean(0), x.std(0))]
    seen = np.hstack([x, *whole]) if context else x
    scores = linear(module.out, np.tanh(normed(module.norm, np.maximum(linear(module.hidden, seen), 0))))
    share = np.exp(scores) / np.exp(scores).sum(0)
    mean = (share * x).sum(0)
    return np.concatenate([mean, np.sqrt((share * (x - mean) ** 2).sum(0))])


def cosine_distance(a: Array, b: Array) -> float:
    return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# The network


@pytest.mark.parametrize(("layers", "hidden_states"), [([0, 1], (1, 2)), ([1, 2], (2, 3)), ([2, 2], (3,))])
def test_layers_are_blocks_counted_from_0(layers: list[int], hidden_states: tuple[int, ...]) -> None:
    """Layer i is the output of block i, `hidden_states[i + 1]` of transformers; the features are the plain mean."""
    side = build(style_layers=layers).style
    full = architecture(TINY).network()
    full.train(False)
    full.load_state_dict(side.encoder.state_dict(), strict=False)
    wave = noise(2, SAMPLES)
    with torch.inference_mode():
        found = full(wave, output_hidden_states=True).hidden_states
        expected = torch.stack([found[index] for index in hidden_states]).mean(0)
        torch.testing.assert_close(side.reading(wave), expected, rtol=0, atol=2e-6)
    assert len(side.encoder.encoder.layers) == layers[1] + 1


def test_compression_is_a_residual_bottleneck() -> None:
    """x + up(LeakyReLU(norm(down x))), LeakyReLU, and down to the features, frame by frame, as numpy has it."""
    module = Compression(32, 8, 0.01)
    randomise(module)
    x = noise(2, 5, 32)
    np.testing.assert_allclose(array(module(x)), compressed(module, array(x)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("context", [True, False])
def test_pooling_is_attentive_statistics(context: bool) -> None:
    """Mean and deviation of each channel under its own softmax over time, with or without context, as in numpy."""
    module = AttentiveStatistics(32, 6, context=context)
    randomise(module)
    x = noise(2, 9, 32)
    expected = [pooled(module, row, context) for row in array(x)]
    np.testing.assert_allclose(array(module(x)), expected, rtol=0, atol=1e-5)


def test_constant_features_have_a_gradient() -> None:
    """A deviation of zero, as of digital silence, leaves score and gradients finite."""
    x = torch.ones(2, 5, 32, requires_grad=True)
    AttentiveStatistics(32, 6, context=True)(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_score_is_the_logit_of_the_fused_embeddings(model: Slim) -> None:
    """Style and linguistic embedding, then both temporal means of the dependency features, through the classifier."""
    wave = noise(3, SAMPLES)
    with torch.inference_mode():
        out = model(wave, torch.full((3,), SAMPLES))
        encoded = [array(side.reading(wave)) for side in model.sides]
    embeddings = [
        np.stack([linear(side.mlp[0], pooled(side.pooling, row)) for row in x])
        for side, x in zip(model.sides, encoded, strict=True)
    ]
    means = [compressed(side.compression, x).mean(1) for side, x in zip(model.sides, encoded, strict=True)]
    fused = np.hstack([*embeddings, *means])
    expected = linear(model.head[-1], leaky(linear(model.head[0], fused)))[:, 0]
    np.testing.assert_allclose(out.scores.numpy(), expected, rtol=0, atol=2e-5)
    assert np.ptp(expected) > 1e-3


@settings(deadline=None, max_examples=5)
@given(rows=st.integers(2, 5), seed=st.integers(0, 100))
def test_batch_does_not_matter(model: Slim, rows: int, seed: int) -> None:
    """A window scores alone as it does beside others, and so does its mismatch."""
    wave = noise(rows, SAMPLES, seed=seed)
    with torch.inference_mode():
        together = model(wave, torch.full((rows,), SAMPLES))
        alone = [model(row[None], torch.tensor([SAMPLES])) for row in wave]
    torch.testing.assert_close(together.scores, torch.cat([out.scores for out in alone]), rtol=0, atol=1e-5)
    mismatch = torch.cat([out.extras["mismatch"] for out in alone])
    torch.testing.assert_close(together.extras["mismatch"], mismatch, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CARDS)
def test_size_of_the_cards(name: str) -> None:
    """Compression 788,480 a side, pooling and embedding 2.10 M, head 0.26 M, 3.94 M together; encoders cut short."""
    card = registry.detectors()[name]
    with torch.device("meta"), torch.inference_mode():
        model = build_model(card.model, card.arguments, name)
        assert isinstance(model, Slim)
        window = torch.empty(2, 80_000)
        assert model.style.reading(window).shape == (2, 249, 1024)
        assert model.eval()(window, torch.full((2,), 80_000)).scores.shape == (2,)

    def count(*modules: nn.Module) -> int:
        return sum(value.numel() for module in modules for value in module.parameters())

    compression = [count(side.compression) for side in model.sides]
    pooling = count(*(part for side in model.sides for part in (side.pooling, side.mlp)))
    assert compression == [788_480, 788_480]
    assert (round(pooling / 1e6, 2), round(count(model.head) / 1e6, 2)) == (2.10, 0.26)
    block, whole = 12_596_224, 315_438_720
    encoders = [count(side.encoder) for side in model.sides]
    assert encoders == [whole - 13 * block, whole - 2 * block]
    assert round((count(model) - sum(encoders)) / 1e6, 2) == 3.94
    assert count(model) == card.parameters
    trained = {stage: {group: count(*modules) for group, modules in model.trainable(stage).items()} for stage in STAGES}
    assert trained == {
        "dependency": {"compression": 2 * 788_480},
        "classifier": {"classifier": pooling + count(model.head)},
        "whole": {
            "classifier": pooling + count(model.head),
            "compression": 2 * 788_480,
            "encoders": (11 + 8) * block,
        },
    }


def test_dropout_is_the_papers(model: Slim) -> None:
    """0.1 in the compression, 0.25 in the classifier, and none elsewhere."""
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p}
    assert rates == {"style.compression.dropout": 0.1, "linguistics.compression.dropout": 0.1, "head.2": 0.25}


def test_layers_the_encoder_does_not_have_are_refused() -> None:
    """Blocks out of range, or in the wrong order, would be another detector."""
    with pytest.raises(CardError, match=r"^blocks 2 to 4 are not among the 4 of the encoder$"):
        Slim(**ARGUMENTS | {"style_layers": [2, 4]})
    with pytest.raises(CardError, match=r"^blocks 2 to 1 are not among the 4 of the encoder$"):
        Slim(**ARGUMENTS | {"linguistics_layers": [2, 1]})


# The mismatch


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("compared", ["means", "frames"])
def test_mismatch_is_a_cosine_distance(compared: str, standardise: bool) -> None:
    """Of the temporal means, or the mean over the frames; standardised by the statistics of each side, or not."""
    model = build(compared=compared, standardise=standardise)
    style, linguistics = noise(3, 6, 8, seed=1), noise(3, 6, 8, seed=2)
    expected = []
    for row in range(3):
        pair = [array(style[row]), array(linguistics[row])]
        if standardise:
            pair = [normed(side.statistics, x) for side, x in zip(model.sides, pair, strict=True)]
        if compared == "means":
            pair = [x.mean(0, keepdims=True) for x in pair]
        expected.append(np.mean([cosine_distance(a, b) for a, b in zip(*pair, strict=True)]))
    np.testing.assert_allclose(array(model.mismatch(style, linguistics)), expected, rtol=0, atol=1e-6)


def test_mismatch_is_that_of_the_dependency_features(model: Slim) -> None:
    """The extra of a score is computed of the compressed encoder features of that window."""
    wave = noise(2, SAMPLES, seed=5)
    with torch.inference_mode():
        dependency = [side.compression(side.reading(wave)) for side in model.sides]
        extras = model(wave, torch.full((2,), SAMPLES)).extras
        assert list(extras) == ["mismatch"]
        torch.testing.assert_close(extras["mismatch"], model.mismatch(*dependency))


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_mismatch_is_between_0_and_2(model: Slim, scale: float, seed: int) -> None:
    """0 for sides whose standardised means point one way, 2 for opposite ones, whatever their lengths."""
    wanted = noise(1, 1, 8, seed=seed)
    sides = []
    for side in model.sides:
        state = side.statistics
        assert state.running_mean is not None and state.running_var is not None
        sides.append((state.running_mean, (state.running_var + state.eps).sqrt()))
    (mean_s, deviation_s), (mean_l, deviation_l) = sides
    style = wanted * deviation_s + mean_s
    for sign, distance in ((1, 0.0), (-1, 2.0)):
        linguistics = sign * scale * wanted * deviation_l + mean_l
        assert model.mismatch(style, linguistics).item() == pytest.approx(distance, abs=1e-5)
    assert 0 <= model.mismatch(noise(1, 4, 8, seed=seed), noise(1, 4, 8, seed=seed + 1)).item() <= 2


def test_another_mismatch_is_refused() -> None:
    """A choice of a card that is not known is told, not taken for the other one."""
    with pytest.raises(UsageError, match=r"^no mismatch is called 'mean'\n  remedy: did you mean means"):
        Slim(**ARGUMENTS | {"compared": "mean"})


# The loss of stage 1


def standard(x: Array) -> Array:
    out: Array = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    return out


def expected_loss(style: Array, linguistics: Array, weight: float, divisor: str, cross: str) -> float:
    rows, frames, _ = style.shape
    scale = {"batch": rows, "root": np.sqrt(rows)}[divisor]
    means = [standard(x.mean(1)) / scale for x in (style, linguistics)]
    if cross == "means":
        distance = np.linalg.norm(means[0] - means[1]) ** 2
    else:
        by_frame = [(standard(x.reshape(rows * frames, -1)) / scale).reshape(x.shape) for x in (style, linguistics)]
        distance = np.mean([np.linalg.norm(by_frame[0][:, t] - by_frame[1][:, t]) ** 2 for t in range(frames)])
    redundancy = sum(np.linalg.norm(x.T @ x - np.eye(x.shape[1])) ** 2 for x in means)
    return float(distance + weight * redundancy)


@pytest.mark.parametrize("cross", ["frames", "means"])
@pytest.mark.parametrize("divisor", ["batch", "root"])
@pytest.mark.parametrize("weight", [0.007, 0.5])
def test_loss_of_stage_1(weight: float, divisor: str, cross: str) -> None:
    """Distance by frame or of means, redundancy of means, divided by B or its root, as numpy has them."""
    style, linguistics = noise(6, 4, 10), noise(6, 4, 10, seed=1) + noise(6, 4, 10)
    found = self_contrastive(style, linguistics, weight=weight, divisor=divisor, cross=cross).item()
    assert found == pytest.approx(expected_loss(array(style), array(linguistics), weight, divisor, cross), rel=1e-5)


@pytest.mark.parametrize("cross", ["frames", "means"])
def test_sizes_of_the_loss(cross: str) -> None:
    """16 x 256 independent features: 35.5 divided by B and 574 by its root; equal ones: 3.4, the redundancy alone."""

    def mean_loss(divisor: str, equal: bool) -> float:
        losses = []
        for seed in range(10):
            pair = noise(16, 1, 256, seed=seed), noise(16, 1, 256, seed=seed if equal else 100 + seed)
            losses.append(self_contrastive(*pair, weight=0.007, divisor=divisor, cross=cross).item())
        return float(np.mean(losses))

    assert mean_loss("batch", equal=False) == pytest.approx(35.5, abs=0.5)
    assert mean_loss("root", equal=False) == pytest.approx(574, abs=6)
    assert mean_loss("batch", equal=True) == pytest.approx(3.4, abs=0.03)


@given(scale=st.floats(0.5, 4), offset=st.floats(-3, 3), divisor=st.sampled_from(["batch", "root"]))
@settings(deadline=None, max_examples=20)
def test_loss_is_blind_to_offset_and_scale(scale: float, offset: float, divisor: str) -> None:
    """Moving or scaling the features of one side changes nothing, which is why the mismatch standardises them."""
    style, linguistics = noise(5, 3, 6).double(), noise(5, 3, 6, seed=1).double()
    before = self_contrastive(style, linguistics, weight=0.007, divisor=divisor, cross="frames")
    after = self_contrastive(scale * style + offset, linguistics, weight=0.007, divisor=divisor, cross="frames")
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"divisor": "1/B"}, r"^no divisor is called '1/B'\n  remedy: known: batch, root$"),
        ({"cross": "frame"}, r"^no cross term is called 'frame'\n  remedy: did you mean frames\?"),
    ],
)
def test_another_loss_is_refused(changes: dict[str, Any], message: str) -> None:
    """One of two forms of the loss would otherwise be taken silently."""
    with pytest.raises(UsageError, match=message):
        self_contrastive(noise(2, 3, 4), noise(2, 3, 4), **OPTIONS | changes)


def test_a_batch_of_one_has_no_statistics() -> None:
    """An incomplete last batch of a single row is an error with a remedy, not a loss of zero distance."""
    problem = r"^a batch of one utterance has no mean and variance for stage 1 of SLIM\n  remedy: choose a `batch_size`"
    with pytest.raises(DataError, match=problem):
        self_contrastive(noise(1, 3, 4), noise(1, 3, 4), **OPTIONS)


def test_stage_1_tells_what_belongs_together() -> None:
    """After stage 1 on pairs of one source, a side of another utterance raises the mismatch of nearly every pair."""
    model = Slim(**ARGUMENTS | {"encoder": {**TINY, "width": 24, "heads": 4, "groups": 4}})
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 6, 24, generator=generator)
    offsets = torch.randn(2, 24, generator=generator)

    def pair(rows: int) -> list[Tensor]:
        source = torch.randn(rows, 1, 6, generator=generator) + 0.5 * torch.randn(rows, 10, 6, generator=generator)
        return [source @ turn + offset for turn, offset in zip(maps, offsets, strict=True)]

    torch.manual_seed(0)
    parameters = list(learn(model, "dependency").values())
    optimiser = torch.optim.AdamW(parameters, lr=0.01)
    for side in model.sides:
        side.compression.load_state_dict(Compression(24, 8, 0.01).state_dict())
    for _ in range(120):
        dependency = [side.compression(x) for side, x in zip(model.sides, pair(16), strict=True)]
        for side, x in zip(model.sides, dependency, strict=True):
            side.statistics(x.detach().flatten(0, 1))
        optimiser.zero_grad()
        torch.autograd.backward(self_contrastive(dependency[0], dependency[1], **OPTIONS))
        optimiser.step()
    model.eval()
    with torch.inference_mode():
        style, linguistics = (side.compression(x) for side, x in zip(model.sides, pair(200), strict=True))
        real, mixed = model.mismatch(style, linguistics), model.mismatch(style, linguistics.roll(1, 0))
    assert (mixed[:, None] > real).float().mean() > 0.95


# Training


def read(model: Slim, wave: Tensor) -> list[Tensor]:
    return [reading(wave) for reading in model.readings]


def test_loss_of_stage_1_is_of_the_dependency_features(model: Slim) -> None:
    """The stage's loss is `self_contrastive` of what the compression makes of the encoders' features; no scores."""
    wave = noise(4, SAMPLES)
    with torch.inference_mode():
        dependency = [side.compression(side.reading(wave)) for side in model.sides]
        expected = self_contrastive(dependency[0], dependency[1], **OPTIONS)
        found = model.loss("dependency", read(model, wave), torch.ones(4), **OPTIONS)
    torch.testing.assert_close(found.value, expected)
    assert found.scores is None and Slim.one_class == ("dependency",)


def test_loss_of_stage_2_is_binary_cross_entropy(model: Slim) -> None:
    """Of the score, label 1 = bona fide, the mean over the batch; the scores are those of `forward`."""
    wave, labels = noise(4, SAMPLES), torch.tensor([1.0, 0, 0, 1])
    with torch.inference_mode():
        scores = model(wave, torch.full((4,), SAMPLES)).scores
        found = {stage: model.loss(stage, read(model, wave), labels) for stage in ("classifier", "whole")}
    signed = np.where(labels.numpy() == 1, array(scores), -array(scores))
    expected = np.log1p(np.exp(-signed)).mean()
    for loss in found.values():
        assert loss.value.item() == pytest.approx(expected, abs=1e-5)
        assert loss.scores is not None and torch.equal(loss.scores, scores)


def test_what_each_stage_trains() -> None:
    """Compression; classifier; or both with the averaged blocks of the encoders."""
    model = build()
    compression = {"style.compression", "linguistics.compression"}
    classifier = {"head", "style.pooling", "style.mlp", "linguistics.pooling", "linguistics.mlp"}
    blocks = {f"{side}.encoder.encoder.layers.{block}" for side, block in SELECTED}
    expected = {"dependency": compression, "classifier": classifier, "whole": classifier | compression | blocks}
    for stage in STAGES:
        trained = learn(model, stage)
        roots = {next((root for root in expected["whole"] if name.startswith(f"{root}.")), name) for name in trained}
        assert roots == expected[stage]


def test_stage_1_brings_style_and_linguistics_of_an_utterance_together() -> None:
    """A few steps on real speech lower the distance and the redundancy of the dependency features."""
    torch.manual_seed(0)
    model = Slim(**ARGUMENTS)
    model.style.encoder.initialise(0)
    model.linguistics.encoder.initialise(1)
    optimiser = torch.optim.AdamW(learn(model, "dependency").values(), lr=0.005)
    with torch.no_grad():
        encoded = read(model, noise(16, SAMPLES))

    def terms() -> tuple[float, float]:
        """Distance and redundancy; the loss is linear in the weight of the second."""
        with torch.no_grad():
            dependency = [side.compression(x) for side, x in zip(model.sides, encoded, strict=True)]
            distance, both = (self_contrastive(*dependency, **OPTIONS | {"weight": w}).item() for w in (0.0, 1.0))
        return distance, both - distance

    model.eval()
    before = terms()
    for module in model.trainable("dependency")["compression"]:
        module.train()
    for _ in range(30):
        optimiser.zero_grad()
        torch.autograd.backward(model.loss("dependency", encoded, torch.ones(16), **OPTIONS).value)
        optimiser.step()
    model.eval()
    after = terms()
    assert after[0] < 0.8 * before[0] and after[1] < before[1]


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_leaves_the_rest_as_it_was(stage: str) -> None:
    """Frozen tensors, running statistics of frozen batch norms among them, are equal to the bit after a step."""
    model = build()
    before = {name: digest(value) for name, value in model.state_dict().items()}
    trained = learn(model, stage)
    optimiser = torch.optim.SGD(trained.values(), lr=0.1)
    options = OPTIONS if stage == "dependency" else {}
    torch.autograd.backward(model.loss(stage, read(model, noise(4, SAMPLES)), torch.ones(4), **options).value)
    optimiser.step()
    changed = {name for name, value in model.state_dict().items() if digest(value) != before[name]}
    modules = [module for group in model.trainable(stage).values() for module in group]
    theirs = {id(value) for module in modules for value in (*module.parameters(), *module.buffers())}
    own = {name for name, value in (*model.named_parameters(), *model.named_buffers()) if id(value) in theirs}
    assert changed <= own
    buffers = {name for name in own if "running" in name}
    assert buffers and buffers <= changed
    assert any("statistics" in name for name in changed) == (stage == "dependency")


def digest(value: Tensor) -> str:
    return hashlib.sha256(value.detach().numpy().tobytes()).hexdigest()


def test_stage_1_keeps_mean_and_variance_of_real_speech() -> None:
    """In training the statistics move by a tenth towards those of the batch; in validation they stay."""
    model = build()
    wave = noise(4, SAMPLES)
    state = model.style.statistics
    assert state.running_mean is not None and state.running_var is not None
    old = array(state.running_mean).copy(), array(state.running_var).copy()
    model.loss("dependency", read(model, wave), torch.ones(4), **OPTIONS)
    np.testing.assert_array_equal(array(state.running_mean), old[0])
    for module in model.trainable("dependency")["compression"]:
        module.train()
    seen: list[Tensor] = []
    model.style.compression.register_forward_hook(lambda *given: seen.append(given[2].detach()))
    model.loss("dependency", read(model, wave), torch.ones(4), **OPTIONS)
    frames = array(seen[0]).reshape(-1, 8)
    np.testing.assert_allclose(array(state.running_mean), 0.9 * old[0] + 0.1 * frames.mean(0), atol=1e-6)
    np.testing.assert_allclose(array(state.running_var), 0.9 * old[1] + 0.1 * frames.var(0, ddof=1), atol=1e-6)


def test_what_a_stage_refuses(model: Slim) -> None:
    """Spoof in the one-class stage, a stage nobody knows, and options of the other stage's loss."""
    inputs = read(model, noise(2, SAMPLES))
    with pytest.raises(DataError, match=r"^stage 1 of SLIM learns from real speech alone\n  remedy: give it bona fide"):
        model.loss("dependency", inputs, torch.tensor([1, 0]), **OPTIONS)
    for call in (lambda: model.trainable("stage-2"), lambda: model.loss("stage-2", inputs, torch.ones(2))):
        with pytest.raises(UsageError, match=r"^no stage of SLIM is called 'stage-2'\n  remedy: known: classifier"):
            call()
    with pytest.raises(TypeError, match="unexpected keyword argument 'weight'"):
        model.loss("classifier", inputs, torch.ones(2), weight=1.0)


# Cards and weights


@pytest.mark.parametrize("name", CARDS)
def test_recipe_of_a_card_is_one_the_model_can_follow(name: str) -> None:
    """Its stages are the model's, with a learning rate a group and options of the loss; it starts from encoders."""
    card = registry.detectors()[name]
    assert card.recipe is not None
    model = build()
    inputs = read(model, noise(2, SAMPLES))
    for stage, about in card.recipe.stages.items():
        assert about.learning_rate.keys() == model.trainable(stage).keys()
        assert model.loss(stage, inputs, torch.ones(2), **about.loss).value.isfinite()
    assert list(card.recipe.stages) == ["dependency", {"slim": "classifier", "slim-finetuned": "whole"}[name]]
    parts = {part: model.get_submodule(part) for part in card.recipe.start}
    assert parts == {"style.encoder": model.style.encoder, "linguistics.encoder": model.linguistics.encoder}
    used = {source.dataset for stage in card.recipe.stages.values() for source in stage.train}
    assert used | {card.recipe.train} == set(card.trained_on)
    assert any("patent" in notice for notice in card.notices)
    assert (card.audio.window, card.audio.samples, card.audio.epsilon) == ("tile", 80_000, 1e-7)


def test_trained_weights_load_strictly(model: Slim, tmp_path: Path) -> None:
    """What training writes makes the same scores again; a missing tensor is refused by its name."""
    file = tmp_path / "model.safetensors"
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(state, file)
    again = Slim(**ARGUMENTS)
    weights.load_into(again, weights.read(file), file)
    wave = noise(2, SAMPLES)
    with torch.inference_mode():
        scores = [each.eval()(wave, torch.full((2,), SAMPLES)).scores for each in (model, again)]
    assert torch.equal(*scores)
    del state["style.statistics.running_mean"]
    safetensors.torch.save_file(state, file)
    with pytest.raises(WeightsError, match=r"1 tensors missing \(style\.statistics\.running_mean\)"):
        weights.load_into(Slim(**ARGUMENTS), weights.read(file), file)
