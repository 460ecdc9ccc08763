"""What the head of `bench.models` asks of the detectors, tried on all that it is asked of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.models import Output
from bench.models.antideepfake import AntiDeepfake
from bench.models.lfcc_gmm import LfccGmm
from bench.models.linear_probe import LinearProbe
from bench.models.slim import Slim
from bench.models.sls import SLS
from bench.models.ssl_aasist import SSLAASIST
from bench.models.two_stage import TwoStageXLSR
from bench.models.wav2vec2 import Backbone, LowerPrecision
from tests.models.steps import noise

TINY = {"layers": 2, "width": 32, "feed_forward": 48, "heads": 4, "conv_width": 16, "taps": 16, "groups": 4}
SAMPLES = 64_600


def slim() -> Slim:
    layers = {"style_layers": [0, 1], "linguistics_layers": [1, 1]}
    return Slim(**{**registry.detectors()["slim"].arguments, "encoder": TINY, **layers})


LARGE: dict[str, Callable[[], LowerPrecision]] = {
    "sls": lambda: SLS(TINY, hidden=24),
    "antideepfake": lambda: AntiDeepfake(TINY),
    "antideepfake-group-norm": lambda: AntiDeepfake({**TINY, "group_norm": True}),
    "ssl-aasist": lambda: SSLAASIST(TINY),
    "slim": slim,
    "two-stage": lambda: TwoStageXLSR(TINY),
    "linear-probe": lambda: LinearProbe(TINY),
}


def drawn(build: Callable[[], nn.Module]) -> Any:
    """With random weights, in evaluation mode."""
    torch.manual_seed(0)
    model = build()
    for part in model.modules():
        if isinstance(part, Backbone):
            part.initialise(0)
    return model.eval()


def lengths_of(wave: Tensor) -> Tensor:
    return torch.full((len(wave),), wave.shape[1])


def test_every_class_with_a_backbone_is_here() -> None:
    """And no other is taken for one."""

    def below(kind: type) -> set[type]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(LowerPrecision) if kind.__module__.startswith("bench.") and "version" in vars(kind)}
    assert {type(build()) for build in LARGE.values()} == ours


@pytest.mark.parametrize("name", LARGE)
@torch.inference_mode()
def test_lower_precision_is_of_the_backbones_alone(name: str) -> None:
    """Every number of them is bfloat16 and of nothing else; what is given is float32, and near what it was."""
    model, wave = drawn(LARGE[name]), noise(2, SAMPLES)
    exact: Output = model(wave, lengths_of(wave))
    for _ in range(2):  # asked twice, it is done once
        model.lower_precision()
    inside = tuple(f"{path}." for path, part in model.named_modules() if isinstance(part, Backbone))
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == (torch.bfloat16 if key.startswith(inside) else torch.float32), key
    found: Output = model(wave, lengths_of(wave))
    assert exact.embedding is not None and found.embedding is not None
    assert exact.extras.keys() == found.extras.keys()
    for one, other in (
        (found.scores, exact.scores),
        (found.embedding, exact.embedding),
        *((found.extras[key], exact.extras[key]) for key in exact.extras),
    ):
        assert one.dtype == torch.float32
        assert 0 < float((one - other).norm()) < 0.05 * float(other.norm()) + 0.02


@torch.inference_mode()
def test_the_weights_of_the_positional_convolution_are_rounded_once() -> None:
    """In bfloat16 they are those of float32 rounded, not the product of rounded parts."""
    backbone = Backbone(TINY)
    backbone.initialise(0)
    convolution: Any = backbone.encoder.pos_conv_embed.conv
    exact = convolution.weight.clone()
    backbone.lower_precision()
    assert torch.equal(convolution.weight, exact.bfloat16())


SHALLOW = {**TINY, "layers": 1}


@pytest.mark.parametrize(
    ("build", "samples"),
    [
        (lambda: SLS(SHALLOW, hidden=24), SAMPLES),
        (lambda: SSLAASIST(SHALLOW), 4000),
        (lambda: LinearProbe(SHALLOW), 4000),
    ],
    ids=["blocks", "last state and graphs", "reading"],
)
@torch.inference_mode()
def test_detectors_of_a_fixed_window_compile_whole(build: Callable[[], nn.Module], samples: int) -> None:
    """One graph from samples to scores, for every way to take a backbone's output and for AASIST's graphs; the same to
    the last bit where it is run as it was written."""
    model, wave = drawn(build), noise(1, samples)
    torch.compiler.reset()
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    assert torch.equal(compiled(wave, lengths_of(wave)).scores, model(wave, lengths_of(wave)).scores)


@pytest.mark.parametrize(
    "build",
    [LARGE["antideepfake"], LARGE["antideepfake-group-norm"], LfccGmm],
    ids=["antideepfake", "antideepfake-group-norm", "lfcc-gmm"],
)
@torch.inference_mode()
def test_lengths_are_looked_at_without_the_device(build: Callable[[], nn.Module]) -> None:
    """Whole files of unequal lengths pass on the device `meta`, which has no number to give."""
    model = build().to("meta").eval()
    given = model(torch.zeros(3, 9000, device="meta"), torch.tensor([9000, 4000, 4000]))
    scores = given.scores if isinstance(given, Output) else given
    assert scores.shape == (3,) and scores.is_meta
