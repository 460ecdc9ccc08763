"""What training asks of every detector: gradients where it learns, its loss by definition, the scores of forward.

Stages are entered as the engine enters them; networks are the real ones, small and with few samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.errors import DataError, UsageError
from bench.models import Loss, Output
from bench.models.aasist import AASIST
from bench.models.antideepfake import AntiDeepfake
from bench.models.lfcc_lcnn import LfccLcnn
from bench.models.linear_probe import LinearProbe
from bench.models.objective import balanced_weights, cross_entropy
from bench.models.rawnet2 import RawNet2
from bench.models.slim import Slim
from bench.models.sls import SLS
from bench.models.ssl_aasist import SSLAASIST
from bench.models.two_stage import TwoStageXLSR
from bench.models.wav2vec2 import Backbone
from bench.registry import detectors
from tests.models.steps import Array, noise

TINY = {"layers": 2, "width": 32, "feed_forward": 48, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}
SLIM = {
    **detectors()["slim"].arguments,
    "encoder": TINY,
    "style_layers": [0, 0],
    "linguistics_layers": [0, 1],
    "features": 8,
    "attention": 6,
    "mlp": [5],
    "head": [7],
}
OPTIONS: Mapping[str, Any] = {"weight": 0.007, "divisor": "batch", "cross": "frames"}
MASK = "backbone.masked_spec_embed"
ROWS = 6


class Case(NamedTuple):
    """A detector in a stage. last: the layer that gives its logits. idle: parameters that no gradient reaches."""

    build: Callable[[], nn.Module]
    stage: str
    last: str
    samples: int = 6000
    unequal: bool = False
    idle: frozenset[str] = frozenset()


def unread(blocks: str) -> frozenset[str]:
    """The batch norms whose output the authors' code throws away."""
    return frozenset(blocks.format(block, kind) for block in range(1, 6) for kind in ("weight", "bias"))


CASES = {
    "SLS": Case(
        lambda: SLS(TINY, hidden=16),
        "whole",
        "fc3",
        64_600,
        idle=frozenset({MASK, "backbone.encoder.layer_norm.weight", "backbone.encoder.layer_norm.bias"}),
    ),
    "AASIST": Case(
        lambda: AASIST(
            128, (12, (1, 6), (6, 6), (6, 8), (8, 8)), (8, 6), (0.5, 0.7, 0.5, 0.5), (2.0, 2.0, 100.0, 100.0)
        ),
        "whole",
        "out_layer",
        idle=unread("encoder.{}.0.bn1.{}"),
    ),
    "SSL + AASIST": Case(lambda: SSLAASIST(TINY), "whole", "out_layer", idle=unread("encoder.{}.0.bn1.{}") | {MASK}),
    "RawNet2": Case(
        lambda: RawNet2(1024, (20, (20, 20), (20, 32), (32, 32)), 16, 2, 8),
        "whole",
        "fc2_gru",
        idle=unread("block{}.0.bn1.{}"),
    ),
    "LFCC-LCNN": Case(LfccLcnn, "whole", "m_output_act.0", unequal=True),
    "AntiDeepfake": Case(lambda: AntiDeepfake(TINY), "whole", "proj_fc", unequal=True, idle=frozenset({MASK})),
    "AntiDeepfake, group norm": Case(
        lambda: AntiDeepfake({**TINY, "group_norm": True}), "whole", "proj_fc", unequal=True, idle=frozenset({MASK})
    ),
    "two-stage, head": Case(lambda: TwoStageXLSR(TINY), "head", "classifier.3"),
    "two-stage, fine-tuning": Case(lambda: TwoStageXLSR(TINY), "fine-tuning", "classifier.3"),
    "linear probe": Case(lambda: LinearProbe(TINY), "head", "linear"),
    "SLIM, classifier": Case(lambda: Slim(**SLIM), "classifier", "head.3"),
    "SLIM, whole": Case(lambda: Slim(**SLIM), "whole", "head.3"),
}
ONE_CLASS = {"SLIM, dependency": Case(lambda: Slim(**SLIM), "dependency", "")}
DETECTION = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def built(case: Case) -> Any:
    """Weights as they are drawn, in evaluation mode."""
    torch.manual_seed(0)
    model = case.build()
    for seed, module in enumerate(part for part in model.modules() if isinstance(part, Backbone)):
        module.initialise(seed)
    return model.eval()


def learn(model: Any, stage: str) -> dict[str, nn.Parameter]:
    """The stage as the engine has it: what it trains in training mode, all else frozen and in evaluation mode."""
    model.eval().requires_grad_(False)
    for module in (module for group in model.trainable(stage).values() for module in group):
        module.train().requires_grad_(True)
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def batch(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Clips, lengths and labels; bona fide are tones, spoof is noise."""
    wave, labels = 0.3 * noise(ROWS, case.samples), torch.tensor([1.0, 0, 0, 1, 0, 1])
    time = torch.arange(case.samples) / 16_000
    for row in labels.nonzero()[:, 0].tolist():
        wave[row] += 0.5 * torch.sin(2 * math.pi * (300 + 40 * row) * time)
    lengths = torch.full((ROWS,), case.samples)
    if case.unequal:
        lengths -= torch.tensor([0, 900, 3000, 900, 1234, 0])
        wave[torch.arange(case.samples) >= lengths[:, None]] = 0
    return wave, lengths, labels


def inputs(model: Any, wave: Tensor, lengths: Tensor) -> Sequence[Tensor]:
    """What the loss takes: the readings, without a graph where nothing of their backbone learns, or the clips."""
    if not hasattr(model, "readings"):
        return wave, lengths
    found = []
    for reading in model.readings:
        learns = any(parameter.requires_grad for parameter in reading.backbone.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            found.append(reading(wave))
    return found


def loss_of(model: Any, case: Case, **options: Any) -> Loss:
    wave, lengths, labels = batch(case)
    found: Loss = model.loss(case.stage, inputs(model, wave, lengths), labels, **options)
    return found


def forward(model: Any, case: Case) -> Tensor:
    out = model(*batch(case)[:2])
    scores: Tensor = out.scores if isinstance(out, Output) else out
    return scores


def two_logits(case: Case) -> bool:
    """Whether the detector has logits of both classes; the others have one, of bona fide."""
    return hasattr(case.build(), "logits")


def by_hand(logits: Array, labels: Array, weights: Sequence[float] = (1, 1)) -> float:
    """Weighted mean of -log softmax of the true class; logits (B, 2) in float64."""
    of_row = [weights[int(label)] for label in labels]
    odds = [math.exp(row[1 - int(label)] - row[int(label)]) for row, label in zip(logits, labels, strict=True)]
    return sum(w * math.log1p(o) for w, o in zip(of_row, odds, strict=True)) / sum(of_row)


# --- what learns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", (CASES | ONE_CLASS).values(), ids=CASES | ONE_CLASS)
def test_a_gradient_reaches_exactly_what_a_stage_trains(case: Case) -> None:
    """Every parameter of the stage but those that nothing reads, which are known by name, and none beside."""
    model = built(case)
    trained = learn(model, case.stage)
    wave, lengths, _ = batch(case)
    if case.stage == "dependency":
        loss = model.loss(case.stage, inputs(model, wave, lengths), torch.ones(ROWS), **OPTIONS)
        assert loss.scores is None
    else:
        loss = loss_of(model, case)
        assert loss.scores is not None and not loss.scores.requires_grad
    assert loss.value.isfinite() and loss.value.shape == ()
    torch.autograd.backward(loss.value)
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    assert case.idle < trained.keys() and gradients.keys() == trained.keys() - case.idle
    assert all(value.any() for name, value in gradients.items() if name.endswith("weight"))


@DETECTION
def test_a_few_steps_lower_the_loss(case: Case) -> None:
    """Adam on one batch, without dropout: the training loss falls by a fifth at least."""
    model = built(case)
    optimiser = torch.optim.Adam(learn(model, case.stage).values(), lr=5e-3)
    without_dropout(model)
    losses = []
    for _ in range(15):
        loss = loss_of(model, case).value
        losses.append(loss.item())
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


@DETECTION
def test_a_stage_nobody_knows_is_refused(case: Case) -> None:
    """By what it trains and by its loss, with the stages there are."""
    model = built(case)
    calls: list[Callable[[], object]] = [
        lambda: model.trainable("stage-9"),
        lambda: model.loss("stage-9", (), torch.ones(2)),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=rf"^no stage of \S+ is called 'stage-9'\n  remedy: known: .*{case.stage}"):
            call()


# --- what is minimised ------------------------------------------------------------------------------------------------


@DETECTION
@torch.no_grad()
def test_the_loss_is_cross_entropy_and_the_scores_are_those_of_forward(case: Case) -> None:
    """In evaluation mode: -log softmax of the true class, in numpy, and equal scores to the last bit."""
    model = built(case)
    wave, lengths, labels = batch(case)
    scores = forward(model, case)
    if two_logits(case):
        logits = model.logits(*inputs(model, wave, lengths)).double().numpy()
    else:
        logits = np.stack([np.zeros(ROWS), scores.double().numpy()], axis=1)
    found = loss_of(model, case)
    assert found.value.item() == pytest.approx(by_hand(logits, labels.numpy()), abs=2e-6)
    assert found.scores is not None and torch.equal(found.scores, scores)
    assert len(set(scores.tolist())) == ROWS
    if two_logits(case):
        weighted = loss_of(model, case, class_weights=[0.1, 0.9]).value.item()
        assert weighted == pytest.approx(by_hand(logits, labels.numpy(), (0.1, 0.9)), abs=2e-6)


@DETECTION
@torch.no_grad()
def test_a_head_without_preference_starts_at_ln_2(case: Case) -> None:
    """Whatever the class weights; and the weights that are drawn start near it."""
    model = built(case)
    options = {"class_weights": [0.1, 0.9]} if two_logits(case) else {}
    assert loss_of(model, case, **options).value.item() == pytest.approx(math.log(2), abs=0.4)
    last = model.get_submodule(case.last)
    last.weight.zero_()
    last.bias.zero_()
    assert loss_of(model, case, **options).value.item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("case", (CASES | ONE_CLASS).values(), ids=CASES | ONE_CLASS)
def test_half_precision_ends_in_float32(case: Case) -> None:
    """Under bfloat16 autocast loss and scores are float32, near those without, and gradients are finite."""
    model = built(case)
    options = OPTIONS if case.stage == "dependency" else {}
    labels = torch.ones(ROWS) if case.stage == "dependency" else batch(case)[2]
    with torch.no_grad():
        exact = model.loss(case.stage, inputs(model, *batch(case)[:2]), labels, **options).value
    trained = learn(model, case.stage)
    model.eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = model.loss(case.stage, inputs(model, *batch(case)[:2]), labels, **options)
    assert found.value.dtype == torch.float32
    assert found.scores is None or found.scores.dtype == torch.float32
    assert found.value.item() == pytest.approx(exact.item(), rel=0.1)
    torch.autograd.backward(found.value)
    assert all(value.grad.isfinite().all() for value in trained.values() if value.grad is not None)


@pytest.mark.parametrize("name", ["AntiDeepfake", "AntiDeepfake, group norm"])
def test_a_file_is_trained_as_it_would_be_alone(name: str) -> None:
    """The gradient of a batch of unequal lengths is the mean of the gradients of its files without padding."""
    case = CASES[name]
    model = built(case)
    learn(model, "whole")
    torch.autograd.backward(loss_of(model, case).value)
    together = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    wave, lengths, labels = batch(case)
    for row, length in enumerate(lengths.tolist()):
        alone = model.loss("whole", (wave[row : row + 1, :length], lengths[row : row + 1]), labels[row : row + 1])
        torch.autograd.backward(alone.value / ROWS)
    for name, value in model.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(value.grad, together[name], rtol=1e-3, atol=2e-6)


# --- the shared parts -------------------------------------------------------------------------------------------------


@given(
    rows=st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.booleans()), min_size=1, max_size=8),
    weights=st.one_of(st.none(), st.tuples(st.floats(0.01, 100), st.floats(0.01, 100))),
)
@settings(deadline=None, max_examples=60)
def test_cross_entropy(rows: list[tuple[float, float, bool]], weights: tuple[float, float] | None) -> None:
    """The weighted mean of -log softmax of the true class, for float labels, float32 whatever the logits are."""
    logits = torch.tensor([row[:2] for row in rows], dtype=torch.float64)
    labels = torch.tensor([float(row[2]) for row in rows])
    found = cross_entropy(logits, labels, weights)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(by_hand(logits.numpy(), labels.numpy(), weights or (1, 1)), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "weights", [[1.0], [0.1, 0.0], [0.1, -1], [0.1, math.nan], [0.1, math.inf], ["0.1", 1], "balanced", 3]
)
def test_class_weights_that_are_none(weights: Any) -> None:
    """Anything but two positive numbers is told: a list of one, a zero, the word that the engine replaces, ..."""
    with pytest.raises(
        UsageError, match=r"^class weights are two positive numbers, not .*\n  remedy: `\[0\.1, 0\.9\]`"
    ):
        cross_entropy(torch.zeros(2, 2), torch.ones(2), weights)


def test_balanced_weights() -> None:
    """N / (2 n) of spoof and bona fide: those the notebook of two-stage XLS-R prints for its 10,005 training trials."""
    labels = torch.cat([torch.ones(1017), torch.zeros(8988)])
    assert balanced_weights(labels).tolist() == pytest.approx([0.5566, 4.9189], abs=5e-5)
    assert balanced_weights(torch.tensor([True, False])).tolist() == [1, 1]
    with pytest.raises(DataError, match=r"^0 bona fide and 3 spoof trials cannot be balanced$"):
        balanced_weights(torch.zeros(3))
