"""Chance and the shortcut probes: exact values on audio made for the purpose."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.errors import ScoringError
from bench.models import Facts
from bench.models.probes import BandwidthProbe, DurationProbe, Random, SilenceProbe, WaveProbe

RATE = 16_000
PROBES = (SilenceProbe(), BandwidthProbe())


def tone(hertz: float, samples: int) -> Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(samples) / RATE)


def score(probe: WaveProbe, samples: Tensor) -> float:
    return float(probe(samples[None], torch.tensor([len(samples)])))


def facts(trial: str, seconds: float | None = None) -> Facts:
    return Facts(trial, seconds, None, None)


def test_random_depends_on_seed_and_trial_alone() -> None:
    """A trial has the same number in every batch, another one for another seed or id."""
    one, two = Random(0)([facts("a"), facts("b")]), Random(0)([facts("b", 3.0)])
    assert one[1] == two[0]
    assert len({*one.tolist(), *Random(1)([facts("a"), facts("b")]).tolist()}) == 4


def test_random_is_the_documented_hash() -> None:
    """Other people can recompute the number: the first 53 bits of sha256("0:a"), here from the shell."""
    # printf 0:a | sha256sum | cut -c1-16
    assert Random(0)([facts("a")]).item() == (0x9DF3C5FAB8EF8FE7 >> 11) / 2**53


def test_random_is_uniform() -> None:
    """Over many trials the numbers fill [0, 1) evenly."""
    numbers = Random(7)([facts(f"trial {index}") for index in range(20_000)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, bins=10, min=0, max=1)
    assert (counts - 2000).abs().max() < 5 * math.sqrt(2000 * 0.9)


def test_duration() -> None:
    """The score is the number of seconds, and a file of unknown duration is an error that names it."""
    assert DurationProbe()([facts("a", 1.5), facts("b", 0.0)]).tolist() == [1.5, 0.0]
    with pytest.raises(ScoringError, match=r"duration of trial 'b' is not known\n  remedy: .*window: facts"):
        DurationProbe()([facts("a", 1.0), facts("b")])


@pytest.mark.parametrize(("lead", "trail"), [(0, 0), (160, 0), (0, 320), (8000, 4800)])
def test_silence_is_measured_in_seconds(lead: int, trail: int) -> None:
    """Leading and trailing zeros of whole frames are found exactly; a pause between words does not count."""
    voice = torch.cat([tone(400, 3200), torch.zeros(1600), tone(300, 3200)])
    padded = torch.cat([torch.zeros(lead), voice, torch.zeros(trail)])
    assert score(PROBES[0], padded) == pytest.approx((lead + trail) / RATE, abs=1e-6)


@pytest.mark.parametrize(("gain", "seconds"), [(0.011, 0.0), (0.009, 0.1)])
def test_silence_threshold(gain: float, seconds: float) -> None:
    """What is less than 40 dB below the loudest frame is sound, what is more than 40 dB below it is silence."""
    samples = torch.cat([gain * tone(400, 1600), tone(400, 4800)])
    assert score(PROBES[0], samples) == pytest.approx(seconds, abs=1e-6)


@given(gain=st.floats(0.001, 1), offset=st.floats(-0.3, 0.3))
@settings(deadline=None, max_examples=25)
def test_silence_ignores_level_and_offset(gain: float, offset: float) -> None:
    """Neither the level of the file nor a constant offset (in double precision) changes how much of it is silence."""
    samples = torch.cat([torch.zeros(1600), tone(400, 4800), torch.zeros(85)]).double()
    # The sum of the tone is zero, so the mean that is taken off is the offset alone.
    assert score(PROBES[0], gain * samples + offset) == pytest.approx(1685 / RATE, abs=1e-6)


@pytest.mark.parametrize("cutoff", [1000, 3500, 6000])
def test_bandwidth_of_filtered_noise(cutoff: int) -> None:
    """White noise without anything above a cutoff has that bandwidth, at most 160 Hz too much for the side lobes."""
    spectrum = torch.fft.rfft(torch.randn(RATE * 2, generator=torch.Generator().manual_seed(1)))
    spectrum[cutoff * 2 :] = 0
    assert cutoff - 31.25 <= score(PROBES[1], torch.fft.irfft(spectrum)) <= cutoff + 160


def test_bandwidth_of_white_noise_with_offset() -> None:
    """Full-band noise reaches half the sampling rate although a strong offset dominates the spectrum."""
    noise = 0.01 * torch.randn(RATE, generator=torch.Generator().manual_seed(2)) + 0.9
    assert score(PROBES[1], noise) == 8000


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
@pytest.mark.parametrize("samples", [torch.zeros(16_000), torch.zeros(10), tone(400, 10), torch.ones(1), tone(9, 161)])
def test_degenerate_audio(probe: WaveProbe, samples: Tensor) -> None:
    """Digital silence and files of a few samples have finite scores that are not negative."""
    assert 0 <= score(probe, samples) < math.inf


def test_digital_silence() -> None:
    """A file of zeros is silence from beginning to end and has no bandwidth."""
    assert score(PROBES[0], torch.zeros(4000)) == 0.25
    assert score(PROBES[1], torch.zeros(4000)) == 0


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=4))
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_batch_does_not_matter(probe: WaveProbe, lengths: list[int]) -> None:
    """A file has exactly the same score alone and beside longer ones."""
    generator = torch.Generator().manual_seed(sum(lengths))
    wave = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        wave[row, :length] = torch.randn(length, generator=generator)
    together = probe(wave, torch.tensor(lengths))
    alone = [score(probe, wave[row, :length]) for row, length in enumerate(lengths)]
    assert together.tolist() == alone
