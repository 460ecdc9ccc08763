"""The extractor as products of matrices, against transformers' convolutions."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.models.extractor import extract, frames_in
from bench.models.wav2vec2 import Architecture


@functools.cache
def built(conv_width: int, conv_bias: bool) -> Any:
    """Transformers' module, no tensor of it where it starts."""
    architecture = Architecture(1, 32, 48, 4, conv_width=conv_width, conv_bias=conv_bias, taps=16, groups=4)
    generator = torch.Generator().manual_seed(0)
    module: Any = architecture.network().feature_extractor
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def build(conv_width: int = 16, conv_bias: bool = True) -> Any:
    return copy.deepcopy(built(conv_width, conv_bias))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def theirs(module: Any, wave: Tensor) -> Tensor:
    found: Tensor = module(wave).mT
    return found


@given(
    samples=st.integers(400, 6000),
    clips=st.integers(1, 4),
    conv_width=st.sampled_from([1, 3, 16]),
    conv_bias=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=40)
@torch.inference_mode()
def test_frames_are_those_of_transformers(
    samples: int, clips: int, conv_width: int, conv_bias: bool, seed: int
) -> None:
    """Of any number of clips and samples, in float64: norms over a few channels make much of float32's rounding."""
    module, wave = build(conv_width, conv_bias).double(), noise(clips, samples, seed=seed).double()
    expected = theirs(module, wave)
    found = extract(module.conv_layers, wave)
    assert found.shape == (clips, (samples - 400) // 320 + 1, conv_width)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11 * float(expected.abs().max()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("clips", "samples"), [(1, 400), (3, 3328), (4, 6000)])
@torch.inference_mode()
def test_frames_in_float32_are_those_of_transformers(clips: int, samples: int, seed: int) -> None:
    """Within 1e-5 of the largest value."""
    module, wave = build(), noise(clips, samples, seed=seed)
    expected = theirs(module, wave)
    found = extract(module.conv_layers, wave)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("samples", [400, 719, 720, 4000])
def test_gradients_are_those_of_transformers(samples: int) -> None:
    """Of every weight and of the samples, within 1e-9 in float64."""
    module, wave = build().double(), noise(3, samples).double().requires_grad_()
    weighing = noise(3, frames_in(samples), 16, seed=1).double()
    inputs = [wave, *module.parameters()]
    expected = torch.autograd.grad((theirs(module, wave) * weighing).sum(), inputs)
    found = torch.autograd.grad((extract(module.conv_layers, wave) * weighing).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("samples", [400, 719, 720, 2000])
@torch.inference_mode()
def test_a_clip_hears_no_other_clip(samples: int) -> None:
    """What is not a number in the clips beside it leaves every bit of it as it is."""
    module, quiet = build(), torch.zeros(3, samples)
    quiet[1] = noise(samples)
    loud = quiet.clone()
    loud[0], loud[2] = torch.nan, torch.inf
    found = extract(module.conv_layers, loud)
    assert torch.equal(found[1], extract(module.conv_layers, quiet)[1])
    assert found[1].isfinite().all() and found[::2].isnan().all()


@torch.inference_mode()
def test_bfloat16_is_about_as_near_to_float32_as_that_of_transformers() -> None:
    """Computed and returned in that type; the root of the mean square of the error at most 1.5 times theirs."""
    module, wave = build(64), noise(2, 16_000)
    exact = theirs(module, wave)
    module.bfloat16()
    found = extract(module.conv_layers, wave.bfloat16())
    assert found.dtype == torch.bfloat16
    error, allowed = ((each.float() - exact).norm() for each in (found, theirs(module, wave.bfloat16())))
    assert 0 < error < 1.5 * allowed


def test_it_can_be_trained_under_autocast() -> None:
    """Products are of bfloat16 there; every weight has a float32 gradient, near the one without."""
    module, wave = build(), noise(2, 4000)
    parameters = list(module.parameters())

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(extract(module.conv_layers, wave).float().square().mean(), parameters)

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients()
    assert {each.dtype for each in found} == {torch.float32}
    together, wanted = (torch.cat([each.flatten() for each in some]) for some in (found, exact))
    assert 0 < (together - wanted).norm() < 0.1 * wanted.norm()


@torch.inference_mode()
def test_samples_may_lie_in_memory_in_any_order() -> None:
    """Columns of a larger tensor are as good as rows of their own."""
    module, wave = build(), noise(2, 1360)
    assert torch.equal(extract(module.conv_layers, wave.T.contiguous().T), extract(module.conv_layers, wave))


@pytest.mark.parametrize("samples", [0, 399])
def test_less_than_a_frame_is_an_error(samples: int) -> None:
    """Not a tensor without frames, whose mean is not a number."""
    with pytest.raises(ValueError, match=rf"^{samples} samples are less than one frame of 400$"):
        extract(build().conv_layers, torch.zeros(1, samples))
