"""Noise at a signal-to-noise ratio and room responses, against torchaudio and the definitions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio import functional

from bench import audio
from bench.augmentation.noise import in_room, recording, with_noise
from bench.augmentation.signals import convolved
from bench.errors import AudioError
from tests.augmentation.draws import assert_even, assert_uniform
from tests.augmentation.waves import noise, saved, voice

RATE = 16_000


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Tests share no recordings."""
    recording.cache_clear()
    yield
    recording.cache_clear()


def mixed(wave: np.ndarray, path: str, snr_db: tuple[float, float] = (5, 5), seed: int = 0) -> np.ndarray:
    return with_noise(wave, np.random.default_rng(seed), paths=[path], snr_db=snr_db, rate=RATE)


def heard(wave: np.ndarray, path: str) -> np.ndarray:
    return in_room(wave, np.random.default_rng(0), paths=[path], rate=RATE)


@given(st.integers(1, 9000), st.integers(1, 3000), st.integers(0, 2999), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=40)
def test_convolution_is_the_definition(samples: int, taps: int, lead: int, count: int, seed: int) -> None:
    """The sum of each wave through its filter, from the `lead`-th sample of the full convolution on."""
    lead = min(lead, taps - 1)
    generator = np.random.default_rng(seed)
    waves, filters = generator.standard_normal((count, samples)), generator.standard_normal((count, taps))
    full = sum(np.convolve(wave, taps_of_it) for wave, taps_of_it in zip(waves, filters, strict=True))
    made = convolved(list(waves), filters, lead)
    np.testing.assert_allclose(made, np.append(full, np.zeros(lead))[lead : lead + samples], rtol=0, atol=1e-9)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 15.0])
def test_noise_is_added_as_torchaudio_adds_it(tmp_path: Path, snr_db: float) -> None:
    """A recording as long as the clip, at a ratio of the energies of the whole clip."""
    wave, sound = voice(RATE), noise(RATE, level=0.3)
    expected = functional.add_noise(*map(torch.from_numpy, (wave, sound)), torch.tensor(snr_db)).numpy()
    made = mixed(wave, saved(tmp_path / "noise.wav", sound), (snr_db, snr_db))
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6)


def test_the_ratio_is_uniform(tmp_path: Path) -> None:
    """20 log10(||wave|| / ||noise||) over many draws."""
    wave, path = voice(RATE, 0.1), saved(tmp_path / "noise.wav", noise(5000))
    ratios = []
    for seed in range(200):
        added = mixed(wave, path, (0, 15), seed) - wave
        ratios.append(20 * np.log10(np.linalg.norm(wave) / np.linalg.norm(added)))
    assert_uniform(ratios, 0, 15)


def test_a_piece_begins_anywhere(tmp_path: Path) -> None:
    """Of a longer recording every piece of the clip's length is drawn, the first and the last one too."""
    sound = np.linspace(0.1, 1, 13, dtype=np.float32)
    wave, path = noise(10), saved(tmp_path / "noise.wav", sound)
    pieces = [sound[start : start + 10] / np.linalg.norm(sound[start : start + 10]) for start in range(4)]
    drawn = set()
    for seed in range(60):
        added = mixed(wave, path, seed=seed) - wave
        (start,) = np.flatnonzero([np.allclose(added / np.linalg.norm(added), piece, atol=1e-5) for piece in pieces])
        drawn.add(int(start))
    assert drawn == {0, 1, 2, 3}


def test_a_short_recording_is_repeated(tmp_path: Path) -> None:
    """Until the clip ends, in the middle of it if need be."""
    sound, wave = np.array([0.5, -0.25, 0.125], np.float32), noise(8)
    added = mixed(wave, saved(tmp_path / "noise.wav", sound)) - wave
    np.testing.assert_allclose(added / added[0], np.array([1, -0.5, 0.25, 1, -0.5, 0.25, 1, -0.5]), atol=1e-6)


def test_recordings_are_drawn_from_all(tmp_path: Path) -> None:
    """Each as often as any other."""
    paths = [saved(tmp_path / f"{place}.wav", np.eye(3, dtype=np.float32)[place]) for place in range(3)]
    wave, generator = noise(3), np.random.default_rng(0)
    added = [with_noise(wave, generator, paths=paths, snr_db=(0, 0), rate=RATE) - wave for _ in range(300)]
    assert_even(np.bincount([one.argmax() for one in added], minlength=3))


def test_silent_noise_adds_nothing(tmp_path: Path) -> None:
    """A pause of a recording has no level to set."""
    wave = noise(50)
    np.testing.assert_array_equal(mixed(wave, saved(tmp_path / "pause.wav", np.zeros(50, np.float32))), wave)


def test_recordings_come_at_the_rate_of_the_clip(tmp_path: Path) -> None:
    """Those of another rate are resampled as the clips are; a file is decoded once and cannot be changed."""
    path = saved(tmp_path / "noise.wav", noise(4000), 8000)
    made = recording(path, RATE)
    np.testing.assert_array_equal(made, audio.resample(noise(4000), 8000, RATE))
    assert recording(path, RATE) is made
    with pytest.raises(ValueError, match="read-only"):
        made[0] = 1


@given(st.integers(1, 3000), st.integers(1, 2000), st.integers(0, 1999), st.integers(0, 99))
@settings(max_examples=25)
def test_a_room_is_a_convolution(
    tmp_path_factory: pytest.TempPathFactory, samples: int, taps: int, direct: int, seed: int
) -> None:
    """torchaudio's, from the direct sound on and as long as the clip, at the level of the clip."""
    response = noise(taps, seed)
    direct = min(direct, taps - 1)
    response[direct] = -1
    wave = noise(samples, seed + 1)
    recording.cache_clear()
    made = heard(wave, saved(tmp_path_factory.mktemp("room") / "response.wav", response))
    dry, taps_of_it = (torch.from_numpy(part).double() for part in (wave, response))
    expected = functional.fftconvolve(dry, taps_of_it).numpy()[direct : direct + samples]
    expected = expected * np.linalg.norm(dry) / np.linalg.norm(expected)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-9)


def test_direct_sound_stays_where_it_was(tmp_path: Path) -> None:
    """A response that is one impulse, however late and loud, gives the clip itself."""
    response = np.zeros(900, np.float32)
    response[700] = 3
    wave = voice(RATE, 0.05)
    np.testing.assert_allclose(heard(wave, saved(tmp_path / "echo.wav", response)), wave, atol=1e-7)


def test_a_silent_room_is_an_error(tmp_path: Path) -> None:
    """It would leave nothing of the clip."""
    path = saved(tmp_path / "nothing.wav", np.zeros(20, np.float32))
    with pytest.raises(AudioError) as caught:
        heard(noise(10), path)
    expected = f"a room impulse response is silent\n  where: {path}\n  remedy: take it out of the folder"
    assert str(caught.value) == expected


def test_an_unreadable_recording_is_an_error(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(AudioError, match=r"the file is missing\n  where: .*gone.wav"):
        mixed(noise(10), str(tmp_path / "gone.wav"))
