"""Codec round trips: in place, as long as before, and as bad as the codec is."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from bench.augmentation import codec
from bench.augmentation.codec import FORMATS, Format, round_trip
from bench.errors import Blocked, UsageError
from bench.recipes import Codec
from tests.augmentation.waves import lag, noise, voice

RATE = 16_000
CASES = [("mp3", 64), ("mp3", 16), ("aac", 32), ("opus", 32), ("opus", 16), *((name, None) for name in FORMATS)]


def snr_db(wave: np.ndarray, changed: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(wave) / np.linalg.norm(changed - wave)))


@pytest.mark.parametrize(("format", "kbps"), CASES)
def test_the_delay_of_a_codec_is_taken_off(format: str, kbps: int | None) -> None:
    """The result correlates best with the wave at lag 0, all of it, though it is not the same."""
    wave = voice(RATE)
    made = round_trip(wave, RATE, format, kbps)
    assert made.dtype == np.float32
    assert made.shape == wave.shape
    assert lag(made, wave) == 0
    for part in np.array_split(np.arange(len(wave)), 4):
        assert np.corrcoef(made[part], wave[part])[0, 1] > 0.9
    assert 10 < snr_db(wave, made) < 45


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
@pytest.mark.parametrize("format", FORMATS)
def test_rates_of_the_wave_and_of_the_codec_may_differ(format: str, rate: int) -> None:
    """What the codec does not take is resampled to it and back, in place to a sample of 8 kHz."""
    wave = voice(rate, 0.5)
    made = round_trip(wave, rate, format, 48)
    assert made.shape == wave.shape
    assert abs(lag(made, wave)) <= rate / 16_000
    assert np.corrcoef(made, wave)[0, 1] > 0.9


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("samples", [1, 2, 100, 1601])
def test_lengths_are_kept(format: str, samples: int) -> None:
    """However short the wave; silence becomes no more than the codec's smallest step."""
    made = round_trip(noise(samples), RATE, format, 32)
    assert made.shape == (samples,)
    assert np.isfinite(made).all()
    assert np.abs(round_trip(np.zeros(samples, np.float32), RATE, format, 32)).max() < 0.0005


@pytest.mark.parametrize("format", FORMATS)
def test_a_wave_is_left_alone_and_coded_the_same_twice(format: str) -> None:
    """No state of the codec outlives a call."""
    wave = noise(3000)
    first = round_trip(wave, RATE, format, 32)
    round_trip(noise(500, seed=1), RATE, format, 32)
    np.testing.assert_array_equal(round_trip(wave, RATE, format, 32), first)
    np.testing.assert_array_equal(wave, noise(3000))


def test_mulaw_is_the_law() -> None:
    """At 8 kHz each sample becomes one of G.711's 255 values, at most half a step from where it was."""
    wave = noise(4000, level=0.2)
    sizes = [(((mantissa << 3) + 132) << exponent) - 132 for exponent in range(8) for mantissa in range(16)]
    values = np.array(sorted({sign * size for size in sizes for sign in (-1, 1)})) / 32_768
    nearest = values[np.abs(wave[:, None] - values).argmin(axis=1)]
    made = round_trip(wave, 8000, "mulaw")
    assert set(made.tolist()) <= set(values.astype(np.float32).tolist())
    assert np.abs(made - wave).max() <= np.abs(nearest - wave).max() + 4 / 32_768


@pytest.mark.parametrize("format", ["mulaw", "alaw"])
def test_a_telephone_ends_at_4_khz(format: str) -> None:
    """Of white noise at 16 kHz hardly anything is left above."""
    power = np.abs(np.fft.rfft(round_trip(noise(RATE), RATE, format))) ** 2
    assert power[4200:].sum() < 0.01 * power.sum()
    assert power[:3800].sum() > 0.9 * power.sum()


@pytest.mark.parametrize("format", ["mp3", "aac", "opus"])
def test_more_bits_are_nearer_to_the_wave(format: str) -> None:
    """16, 32 and 64 kbit/s, in this order."""
    wave = voice(RATE, 0.5)
    nearness = [snr_db(wave, round_trip(wave, RATE, format, kbps)) for kbps in (16, 32, 64)]
    assert nearness == sorted(nearness)
    assert nearness[2] - nearness[0] > 3


@pytest.mark.parametrize(("format", "most"), [("mp3", 160), ("opus", 256)])
def test_bit_rates_end_where_the_format_ends(format: str, most: int) -> None:
    """The largest that a card may ask for is the largest of the format at this rate; the smallest works, too."""
    wave = voice(RATE, 0.2)
    np.testing.assert_array_equal(round_trip(wave, RATE, format, 512), round_trip(wave, RATE, format, most))
    assert len(round_trip(wave, RATE, format, 4)) == len(wave)


@pytest.mark.parametrize("format", FORMATS)
def test_samples_beyond_one_are_clipped(format: str) -> None:
    """As a file of 16-bit samples would have them."""
    wave = noise(2000, level=1)
    np.testing.assert_array_equal(
        round_trip(wave, RATE, format, 32), round_trip(np.clip(wave, -1, 1), RATE, format, 32)
    )


def test_recipes_name_the_formats_there_are() -> None:
    """What a card may ask for is what can be encoded here."""
    (item, _) = get_args(Codec.model_fields["formats"].annotation)
    assert set(get_args(item)) == set(FORMATS)


def test_an_unknown_format_is_an_error() -> None:
    """It tells the known ones."""
    with pytest.raises(UsageError) as caught:
        round_trip(noise(10), RATE, "oppus")
    expected = "did you mean opus? known: aac, alaw, g722, mp3, mulaw, opus"
    assert str(caught.value) == f"no audio format is called 'oppus'\n  remedy: {expected}"


def test_a_codec_that_is_not_here_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells which library PyAV was built without."""
    monkeypatch.setitem(codec.FORMATS, "mp3", Format("no_such_lame", "mp3float", "fltp", (RATE,)))
    with pytest.raises(Blocked) as caught:
        round_trip(noise(10), RATE, "mp3")
    what = "the audio format mp3 needs a codec that PyAV was built without: no_such_lame"
    assert str(caught.value) == f"{what}\n  remedy: install PyAV's own wheel: pip install --only-binary=av av"
