"""RawBoost against a transcription of its definition, and the distributions of its draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.augmentation import rawboost as module
from bench.augmentation.rawboost import band_stop, coloured, convolutive, notch_filters, rawboost
from bench.errors import UsageError
from tests.augmentation.draws import LEAST, assert_alike, assert_even, assert_uniform
from tests.augmentation.waves import noise
from tests.oracles import rawboost as oracle

ALGORITHMS = range(9)
SEEDS = st.integers(0, 2**32 - 1)
SAMPLES = st.integers(1, 9000)  # up to three frames of the convolution


def changed(wave: np.ndarray, algorithm: int, seed: int) -> np.ndarray:
    return rawboost(wave, algorithm, np.random.default_rng(seed))


def energy(wave: np.ndarray) -> float:
    return float(np.sum(np.square(wave, dtype=np.float64)))


@given(st.floats(20, 8000), st.floats(100, 1000), st.integers(5, 49))
def test_a_band_stop_filter_is_firwins(centre: float, width: float, half: int) -> None:
    """The window method's taps, edges outside 0 to 8 kHz moved inside, around the middle of 99 places."""
    lower, upper, taps = centre - width / 2, centre + width / 2, 2 * half + 1
    made = band_stop(np.array([lower]), np.array([upper]), np.array([taps]))[0]
    expected = oracle.band_stop(lower, upper, taps)
    np.testing.assert_allclose(made[49 - half : 50 + half], expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert not made[: 49 - half].any()
    assert not made[50 + half :].any()


@given(SEEDS, st.lists(st.floats(-20, 0), min_size=1, max_size=5))
@settings(max_examples=25)
def test_notch_filters_have_the_gains_asked_for(seed: int, gains: list[float]) -> None:
    """The peak of the frequency response is the gain in decibels, and the taps are symmetric."""
    filters = notch_filters(np.array(gains), np.random.default_rng(seed))
    assert filters.shape == (len(gains), 491)
    np.testing.assert_allclose(filters, filters[:, ::-1], atol=1e-12)
    peaks = [20 * np.log10(oracle.peak_gain(taps)) for taps in filters]
    np.testing.assert_allclose(peaks, gains, atol=1e-9)


def test_notch_filters_are_drawn_as_published() -> None:
    """Responses at four frequencies are distributed as those of the transcription."""
    random = np.random.RandomState(2)
    ours = notch_filters(np.zeros(300), np.random.default_rng(1))
    theirs = [oracle.notch_taps(0.0, random) for _ in range(300)]
    for frequency in (0, 300, 4000, 7900):
        wave = np.exp(-2j * np.pi * frequency / 16_000 * np.arange(491))
        assert_alike(np.abs(ours @ wave), [abs(taps @ wave[: len(taps)]) for taps in theirs])


def test_bands_are_drawn_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five a filter; centre, width and number of taps are uniform in their ranges, even numbers made odd."""
    drawn: list[np.ndarray] = []

    def spy(lower: np.ndarray, upper: np.ndarray, taps: np.ndarray) -> np.ndarray:
        drawn.extend((lower, upper, taps))
        return band_stop(lower, upper, taps)

    monkeypatch.setattr(module, "band_stop", spy)
    notch_filters(np.zeros(200), np.random.default_rng(1))
    lower, upper, taps = drawn
    assert lower.shape == (200, 5)
    assert_uniform((lower + upper).ravel() / 2, 20, 8000)
    assert_uniform((upper - lower).ravel(), 100, 1000)
    assert set(taps.ravel().tolist()) == set(range(11, 100, 2))
    assert_even(np.bincount(taps.ravel())[11::2])


@given(SAMPLES, SEEDS)
@settings(max_examples=25)
def test_convolutive_noise_is_the_transcriptions(samples: int, seed: int) -> None:
    """With the same filters the sum over five powers of the wave is the same."""
    wave = noise(samples, seed, level=0.5).astype(np.float64)
    filters = notch_filters(np.array([0.0, -5, -10, -15, -20]), np.random.default_rng(seed))
    expected = oracle.convolutive(wave, list(filters))
    np.testing.assert_allclose(convolutive(wave, filters), expected, rtol=0, atol=1e-12)


@given(SAMPLES, SEEDS, st.floats(10, 40))
@settings(max_examples=25)
def test_coloured_noise_is_the_transcriptions(samples: int, seed: int, snr_db: float) -> None:
    """With the same filter, white noise and ratio the sum is the same."""
    wave, white = noise(samples, seed).astype(np.float64), noise(samples, seed + 1).astype(np.float64)
    taps = notch_filters(np.zeros(1), np.random.default_rng(seed))[0]
    expected = oracle.coloured(wave, white, taps, snr_db)
    np.testing.assert_allclose(coloured(wave, white, taps, snr_db), expected, rtol=0, atol=1e-9)


def test_one_filter_is_plain_filtering() -> None:
    """The linear part alone is the wave through the FIR filter, a sample early, less its mean."""
    wave = noise(3000).astype(np.float64)
    taps = notch_filters(np.zeros(1), np.random.default_rng(3))[0]
    plain = np.convolve(wave, taps)[246 : 246 + 3000]
    np.testing.assert_allclose(convolutive(wave, taps[None]), plain - plain.mean(), atol=1e-12)


def test_powers_have_gains_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 dB for the wave itself; uniform between -20 and -5 dB for each of its powers 2 to 5."""
    drawn: list[np.ndarray] = []

    def filters(gains_db: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        drawn.append(gains_db)
        return np.eye(5, 3)

    monkeypatch.setattr(module, "notch_filters", filters)
    for seed in range(150):
        changed(noise(10), 1, seed)
    gains = np.array(drawn)
    assert gains.shape == (150, 5)
    assert not gains[:, 0].any()
    assert_uniform(gains[:, 1:].ravel(), -20, -5)


def test_the_ratio_of_coloured_noise_is_uniform() -> None:
    """Algorithm 3: 20 log10(||x|| / ||y - x||) is uniform between 10 and 40 dB."""
    wave = noise(2000)
    ratios = [10 * np.log10(energy(wave) / energy(changed(wave, 3, seed) - wave)) for seed in range(300)]
    assert_uniform(ratios, 10, 40)


def test_impulsive_noise_changes_up_to_a_tenth_of_the_samples() -> None:
    """Algorithm 2: the share is uniform between 0 and 10 %, at places that are uniform too."""
    wave = np.full(4000, 0.25, dtype=np.float32)
    places = [np.flatnonzero(changed(wave, 2, seed) != wave) for seed in range(300)]
    assert_uniform([len(found) / 4000 for found in places], 0, 0.1)
    assert_uniform(np.concatenate(places), 0, 4000)


def test_impulsive_noise_is_the_sample_times_two_uniform_numbers() -> None:
    """Algorithm 2: (y - x) / 2x is the product of two numbers that are uniform between -1 and 1."""
    wave = np.full(4000, -0.25, dtype=np.float32)
    together = np.concatenate([changed(wave, 2, seed) for seed in range(300)])
    factors = (together[together != wave[0]].astype(np.float64) / wave[0] - 1) / 2
    assert np.abs(factors).max() <= 1

    def below(product: np.ndarray) -> np.ndarray:
        size = np.abs(product)
        share: np.ndarray = 0.5 + np.sign(product) * size * (1 - np.log(size)) / 2
        return share

    assert stats.kstest(factors, below).pvalue > LEAST


@pytest.mark.parametrize("algorithm", [1, 2, 5])
def test_the_peak_is_divided_by_where_it_exceeds_one(algorithm: int) -> None:
    """The last step of 1, 2 and 5; a quiet wave is not made louder to a peak of 1."""
    peaks = [float(np.abs(changed(noise(2000, seed, level=1), algorithm, seed)).max()) for seed in range(8)]
    np.testing.assert_allclose(peaks, 1, rtol=1e-6)
    assert np.abs(changed(noise(2000, level=0.01), algorithm, 0)).max() < 0.2


def test_coloured_noise_is_not_normalised() -> None:
    """Algorithm 3 leaves samples beyond 1 as they are."""
    assert np.abs(changed(noise(2000, level=1), 3, 0)).max() > 2


@pytest.mark.parametrize(
    ("algorithm", "steps"), [(0, ()), (4, (1, 2, 3)), (5, (1, 2)), (6, (1, 3)), (7, (2, 3))], ids=str
)
def test_a_series_is_its_steps_one_after_the_other(algorithm: int, steps: tuple[int, ...]) -> None:
    """The same draws, step by step, give the same samples up to the float32 between the steps."""
    wave = noise(3000)
    expected, generator = wave, np.random.default_rng(5)
    for step in steps:
        expected = rawboost(expected, step, generator)
    np.testing.assert_allclose(changed(wave, algorithm, 5), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.5])
def test_algorithm_8_is_the_sum_of_1_and_2(level: float) -> None:
    """Both of the same wave, added, then divided by the peak where it exceeds 1."""
    wave, generator = noise(3000, level=level), np.random.default_rng(6)
    together = rawboost(wave, 1, generator) + rawboost(wave, 2, generator)
    together /= max(1, np.abs(together).max())
    np.testing.assert_allclose(changed(wave, 8, 6), together, rtol=0, atol=1e-6)


@pytest.mark.parametrize("algorithm", [1, 2, 3])
def test_a_step_is_distributed_as_the_transcription(algorithm: int) -> None:
    """The energy of the result and its likeness to the wave, over 100 draws of ours and of the transcription."""
    wave, random = noise(1600, level=0.3), np.random.RandomState(algorithm)
    ours = [changed(wave, algorithm, seed) for seed in range(100)]
    theirs = [oracle.rawboost(wave.astype(np.float64), algorithm, random) for _ in range(100)]
    assert_alike([energy(result) for result in ours], [energy(result) for result in theirs])
    assert_alike(*([np.corrcoef(result, wave)[0, 1] for result in results] for results in (ours, theirs)))


@pytest.mark.parametrize("algorithm", [-1, 9, 10])
def test_another_number_is_an_error(algorithm: int) -> None:
    """It is not taken for 0."""
    with pytest.raises(UsageError) as caught:
        changed(noise(10), algorithm, 0)
    assert str(caught.value) == f"RawBoost has no algorithm {algorithm}\n  remedy: choose 0 (none) to 8"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("samples", [1, 2, 100, 16_001])
def test_length_and_silence_are_kept(algorithm: int, samples: int) -> None:
    """Finite float32 samples, as many as before; silence in gives silence out; the input is as it was."""
    wave = noise(samples)
    before = wave.copy()
    result = changed(wave, algorithm, 7)
    assert result.dtype == np.float32
    assert result.shape == (samples,)
    assert np.isfinite(result).all()
    assert result is not wave
    np.testing.assert_array_equal(wave, before)
    np.testing.assert_array_equal(changed(np.zeros(samples, np.float32), algorithm, 7), np.zeros(samples))


@pytest.mark.parametrize("algorithm", range(1, 9))
def test_draws_follow_from_the_generator_alone(algorithm: int) -> None:
    """Equal generators give equal samples whatever NumPy's global state is; another seed gives others."""
    wave = noise(3000)
    first = changed(wave, algorithm, 8)
    np.random.seed(0)
    np.testing.assert_array_equal(changed(wave, algorithm, 8), first)
    assert not np.array_equal(changed(wave, algorithm, 9), first)
