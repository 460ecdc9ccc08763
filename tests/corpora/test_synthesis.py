"""bench.corpora.synthesis: the voice, the attacks and the filters against what they must do by theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState

from bench.corpora import synthesis
from bench.corpora.synthesis import ATTACKS, HOP, RATE, TAIL, Array, draw_speaker, record, utterance


@pytest.fixture(scope="module")
def clean() -> Array:
    return utterance(draw_speaker(True, RandomState(1)), RandomState(2))


def pulses(f0: float, seconds: float) -> Array:
    return np.diff(np.floor(np.arange(int(seconds * RATE)) * f0 / RATE), prepend=0.0)


def band_powers(x: Array) -> Array:
    """Power in 16 bands of 500 Hz, in dB."""
    power = np.abs(np.fft.rfft(x)) ** 2
    return 10 * np.log10([part.sum() for part in np.array_split(power, 16)])


def test_an_utterance_is_silent_at_both_ends(clean: Array) -> None:
    """1.5 to 3 s, of which the first and the last 0.1 s are at least 40 dB below the whole."""
    assert 1.49 <= len(clean) / RATE <= 3
    for end in (clean[: RATE // 12], clean[-RATE // 12 :]):
        assert np.mean(end**2) < 1e-3 * np.mean(clean**2)
    assert np.isfinite(clean).all()


def test_low_and_high_voices_differ_in_pitch() -> None:
    """Median f0, measured on the waveform, lies in the range that the voice was drawn from."""
    for low, floor, ceiling in ((True, 85, 160), (False, 150, 270)):
        voice = draw_speaker(low, RandomState(5))
        f0, voiced = synthesis._pitch(utterance(voice, RandomState(6)), HOP)
        assert voiced.sum() > 20
        assert floor < np.median(f0[voiced > 0]) < ceiling


@pytest.mark.parametrize("f0", [80.0, 123.0, 210.0, 320.0])
def test_pitch_of_a_pulse_train(f0: float) -> None:
    """A train of pulses is voiced throughout and its f0 is found within 3 %."""
    found, voiced = synthesis._pitch(pulses(f0, 0.5), HOP)
    middle = slice(4, -4)
    assert voiced[middle].all()
    np.testing.assert_allclose(found[middle], f0, rtol=0.03)


def test_noise_and_silence_are_unvoiced() -> None:
    """Neither white noise nor digital silence has a pitch; f0 is still a number."""
    for x in (RandomState(0).standard_normal(RATE), np.zeros(RATE)):
        f0, voiced = synthesis._pitch(x, HOP)
        assert voiced.mean() < 0.05
        assert np.all(f0 > 0)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_keeps_length_and_spectrum_but_not_the_waveform(clean: Array, name: str) -> None:
    """As many samples, band powers within 6 dB on average, another waveform; the same again for the same seed."""
    attacked = ATTACKS[name](clean, RandomState(3))
    assert attacked.shape == clean.shape
    assert np.abs(band_powers(attacked) - band_powers(clean)).mean() < 6
    assert np.mean((attacked - clean) ** 2) > 0.01 * np.mean(clean**2)
    np.testing.assert_array_equal(attacked, ATTACKS[name](clean, RandomState(3)))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_silence_is_silence(name: str) -> None:
    """Digital silence stays finite and below -100 dB."""
    assert np.abs(ATTACKS[name](np.zeros(RATE), RandomState(0))).max() < 1e-5


def test_linear_prediction_keeps_a_formant() -> None:
    """Noise through one resonance comes out of the vocoder with its peak within 60 Hz of the same place."""
    x = RandomState(0).standard_normal(2 * RATE)
    frames = -(-len(x) // HOP)
    resonance = synthesis._resonances(np.full((frames, 1), 1500.0), np.array([100.0]))
    vocoded = ATTACKS["A02"](synthesis._filter(x, resonance, HOP), RandomState(1))
    smooth = np.convolve(np.abs(np.fft.rfft(vocoded)) ** 2, np.ones(61), "same")
    assert abs(np.argmax(smooth) * RATE / len(x) - 1500) < 60


def test_the_codec_is_faithful_to_a_tone() -> None:
    """A tone is among the strongest lines of its band: what is lost is the 3 dB steps, well below the tone."""
    tone = np.sin(2 * np.pi * 1031.25 * np.arange(RATE) / RATE)
    error = ATTACKS["A03"](tone, RandomState(0)) - tone
    assert np.mean(error**2) < 0.05 * np.mean(tone**2)


@given(length=st.integers(1, 5000), seed=st.integers(0, 99))
def test_a_filter_that_does_nothing_gives_the_signal_back(length: int, seed: int) -> None:
    """Frames overlap and add to exactly the input up to the centre of the last one, whatever its length."""
    x = RandomState(seed).standard_normal(length)
    flat = np.ones((-(-length // HOP), TAIL * HOP // 2 + 1), dtype=np.complex128)
    last = (length - 1) // HOP * HOP + 1
    y = synthesis._filter(x, flat, HOP)
    assert y.shape == x.shape
    np.testing.assert_allclose(y[:last], x[:last], atol=1e-12)


@given(delay=st.integers(0, HOP), length=st.integers(HOP + 1, 3000))
def test_a_filter_that_delays(delay: int, length: int) -> None:
    """A linear phase moves the signal by whole samples, without wrapping around."""
    x = RandomState(length).standard_normal(length)
    bins = np.arange(TAIL * HOP // 2 + 1)
    shift = np.tile(np.exp(-2j * np.pi * bins * delay / (TAIL * HOP)), (-(-length // HOP), 1))
    last = (length - 1) // HOP * HOP + 1
    expected = np.concatenate([np.zeros(delay), x])
    np.testing.assert_allclose(synthesis._filter(x, shift, HOP)[:last], expected[:last], atol=1e-9)


def test_a_resonance_peaks_at_its_centre() -> None:
    """0 dB at 0 Hz, the maximum at the centre, 3 dB less half a bandwidth away."""
    response = np.abs(synthesis._resonances(np.array([[2000.0]]), np.array([250.0]))[0])
    hertz = np.arange(len(response)) * RATE / (TAIL * HOP)
    assert response[0] == pytest.approx(1)
    assert abs(hertz[np.argmax(response)] - 2000) <= RATE / (TAIL * HOP)
    assert 20 * np.log10(response[hertz == 2125] / response.max()) == pytest.approx(-3, abs=0.6)


def test_smoothing_keeps_constants_and_length() -> None:
    """A constant track stays constant to its ends; a single peak keeps its sum."""
    np.testing.assert_allclose(synthesis._smooth(np.full((20, 3), 7.0), 9), 7)
    peak = np.zeros(31)
    peak[15] = 1
    assert synthesis._smooth(peak, 9).sum() == pytest.approx(1)


@given(seed=st.integers(0, 1000), gain=st.floats(1e-3, 1e3))
def test_a_recording_has_a_level_of_its_own(seed: int, gain: float) -> None:
    """The level is -27 ± 3 dBFS whatever came in, the offset is gone, above 7.9 kHz 14 dB or more are lost."""
    x = gain * (RandomState(seed).standard_normal(RATE) + 0.5)
    samples = record(x, RandomState(seed)) / 32767
    assert -30.5 < 10 * np.log10(np.mean(samples**2)) < -23.5
    assert abs(samples.mean()) < 1e-4
    power = np.abs(np.fft.rfft(samples)) ** 2
    assert 10 * np.log10(power[7900:].mean() / power[100:6500].mean()) < -14


def test_a_recording_has_a_noise_floor(clean: Array) -> None:
    """The silent beginning is 42 to 48 dB below the whole and never digital silence."""
    samples = record(clean, RandomState(8)).astype(np.float64)
    assert -50 < 10 * np.log10(np.mean(samples[: RATE // 12] ** 2) / np.mean(samples**2)) < -40
