"""Dropped frequencies, chunks and masks, against PyTorch, SciPy and torchaudio."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import signal
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import mask_along_axis

from bench.augmentation.masking import drop_chunk, drop_frequency, left_out, mask, notch, span
from bench.recipes import DropChunk, DropFrequency, Masks, Spectrum
from tests.augmentation.waves import noise, torch_threads

RATE = 16_000
SEEDS = st.integers(0, 2**32 - 1)


def published_notch(frequency: float, width: float) -> Tensor:
    """SpeechBrain 1.0: a low-pass at the frequency, a high-pass at twice the width above it, sin(3 f n) / (3 f n)."""
    position = torch.arange(-50, 51, dtype=torch.float64)

    def windowed(cutoff: float) -> Tensor:
        angle = 3 * cutoff * position
        sinc = torch.where(position == 0, 1.0, angle.sin() / angle)
        taps = sinc * torch.blackman_window(101, dtype=torch.float64)
        return taps / taps.sum()

    impulse = (position == 0).double()
    return windowed(frequency) + (impulse - windowed(frequency + 2 * width))


@given(st.floats(0.001, 1), st.floats(0.01, 0.2))
def test_a_notch_is_speechbrains(frequency: float, width: float) -> None:
    """The taps of its published definition."""
    np.testing.assert_allclose(notch(frequency, width), published_notch(frequency, width).numpy(), atol=1e-12)


def test_a_notch_leaves_out_its_band() -> None:
    """Little is left in the middle of a wide one; far from it nothing changes."""
    frequencies, response = signal.freqz(notch(0.4, 0.1), 1, fs=2)
    gain = np.abs(response)
    assert gain[np.abs(frequencies - 0.955 * 0.5) < 0.03].max() < 0.05
    assert np.abs(gain[np.abs(frequencies - 0.955 * 0.5) > 0.2] - 1).max() < 0.01


@given(SEEDS, st.sampled_from([1, 2, 100, 6000]))
def test_dropped_frequencies_are_notches_in_a_row(seed: int, samples: int) -> None:
    """As many as drawn, as PyTorch convolves them with 50 zeros on either side; at frequencies between the two."""
    wave, recipe = noise(samples), DropFrequency(low=0.2, high=0.6, count=(1, 3))
    generator = np.random.default_rng(seed)
    count = generator.integers(1, 4)
    row = functional.pad(torch.ones(1, 1, 1, dtype=torch.float64), (50, 50))
    for frequency in 0.2 + 0.4 * generator.random(count):
        row = functional.conv1d(row, published_notch(frequency, 0.05)[None, None], padding=50)
    expected = functional.conv1d(torch.from_numpy(wave)[None, None].double(), row, padding=50)[0, 0]
    made = drop_frequency(wave, np.random.default_rng(seed), recipe)
    np.testing.assert_allclose(made, expected.numpy(), rtol=0, atol=1e-10)


def test_frequencies_between_nowhere_are_refused() -> None:
    """Before anything is drawn."""
    with pytest.raises(ValidationError, match="`low` is above `high`"):
        DropFrequency(low=0.6, high=0.2)


@given(SEEDS, st.integers(1, 400))
def test_dropped_chunks_are_zero_and_the_rest_is_not(seed: int, samples: int) -> None:
    """At most three stretches of 5 to 20 samples, none cut off by the end; short clips lose their beginning."""
    wave = np.ones(samples, np.float32)
    made = drop_chunk(wave, np.random.default_rng(seed), DropChunk(count=(1, 3), samples=(5, 20)))
    assert set(made.tolist()) <= {0.0, 1.0}
    edges = np.flatnonzero(np.diff(np.concatenate([[1], made, [1]])))
    stretches = np.diff(edges)[::2]
    assert 1 <= len(stretches) <= 3
    assert min(5, samples) <= min(stretches)
    assert sum(stretches) <= 60
    assert wave.all()
    if samples <= 5:
        assert not made.any()


def test_every_number_and_length_of_chunks_is_drawn() -> None:
    """Both ends of both ranges; a chunk may end with the clip."""
    recipe, wave = DropChunk(count=(0, 1), samples=(2, 4)), np.ones(9, np.float32)
    made = [drop_chunk(wave, np.random.default_rng(seed), recipe) for seed in range(200)]
    assert {int((one == 0).sum()) for one in made} == {0, 2, 3, 4}
    assert {int((one == 0).argmax()) for one in made if not one.all()} == set(range(8))


@given(st.integers(1, 60), st.integers(0, 80), st.floats(0, 0.999999), st.floats(0, 0.999999))
def test_a_mask_is_where_torchaudio_puts_it(size: int, most: int, extent: float, place: float) -> None:
    """The same two uniform numbers mask the same bins; torchaudio's bound is ours where it exceeds the spectrum."""
    drawn = iter([extent, place])

    class Replayed:
        def uniform(self, low: float, high: float) -> float:
            return low + next(drawn) * (high - low)

    ours = np.ones(size)
    ours[span(size, most, Replayed())] = 0  # type: ignore[arg-type]  # all of a generator that it may use
    with pytest.MonkeyPatch.context() as patch:
        again = iter([extent, place])
        patch.setattr(torch, "rand", lambda _: torch.tensor([next(again)], dtype=torch.float64))
        theirs = mask_along_axis(torch.ones(1, size, 2), min(most, size), 0.0, 1)
    np.testing.assert_array_equal(ours, theirs[0, :, 0].numpy())


@given(SEEDS)
def test_masks_are_zeros_of_the_short_time_spectrum(seed: int) -> None:
    """SciPy's spectrum of 25 ms every 10 ms, back, with the same bins and frames at zero."""
    wave, generator = noise(4800), np.random.default_rng(seed)
    _, _, spectrum = signal.stft(wave.astype(np.float64), RATE, "hann", 400, 240)
    for _ in range(generator.integers(1, 3)):
        spectrum[span(201, 27, generator)] = 0
        spectrum[:, span(31, 12, generator)] = 0
    _, expected = signal.istft(spectrum, RATE, "hann", 400, 240)
    made = mask(wave, np.random.default_rng(seed), Masks(count=(1, 2), frequency=27, time=12), RATE)
    np.testing.assert_allclose(made, expected[:4800], rtol=0, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 100, 399, 400, 16_159])
def test_no_mask_changes_nothing(samples: int) -> None:
    """The spectrum gives the wave back whatever its length."""
    wave = noise(samples)
    for recipe in (Masks(count=(0, 0)), Masks(frequency=0, time=0)):
        np.testing.assert_allclose(mask(wave, np.random.default_rng(0), recipe, RATE), wave, rtol=0, atol=1e-14)


def test_masks_do_not_depend_on_the_number_of_threads() -> None:
    """A worker has one thread where the main process has many."""
    made = []
    for count in (1, 2, 4):
        with torch_threads(count):
            made.append(mask(noise(64_600), np.random.default_rng(0), Masks(), RATE))
    np.testing.assert_array_equal(made[1], made[0])
    np.testing.assert_array_equal(made[2], made[0])


def test_parts_are_left_out_one_after_the_other() -> None:
    """Frequencies, chunks, masks, those that the recipe gives; none of them leaves the clip alone."""
    wave, generator = noise(8000), np.random.default_rng(3)
    frequency, chunk, masks = DropFrequency(), DropChunk(), Masks()
    expected = drop_frequency(wave, generator, frequency)
    expected = mask(drop_chunk(expected, generator, chunk), generator, masks, RATE)
    every = Spectrum(drop_frequency=frequency, drop_chunk=chunk, masks=masks)
    np.testing.assert_array_equal(left_out(wave, np.random.default_rng(3), recipe=every, rate=RATE), expected)
    only = left_out(wave, np.random.default_rng(3), recipe=Spectrum(drop_chunk=chunk), rate=RATE)
    np.testing.assert_array_equal(only, drop_chunk(wave, np.random.default_rng(3), chunk))
    assert left_out(wave, generator, recipe=Spectrum(), rate=RATE) is wave
