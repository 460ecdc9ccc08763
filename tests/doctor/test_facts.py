"""What is measured of one recording, against signals whose facts are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.doctor import facts
from bench.doctor.facts import FACTS, Status, measure, status_of
from bench.errors import AudioError
from bench.models.probes import SilenceProbe

RATE = 16_000


def tone(seconds: float, level: float = 0.5, rate: int = RATE) -> np.ndarray:
    """A square wave at half the sample rate: its power is `level` squared in every frame."""
    wave = np.full(round(seconds * rate), level, dtype=np.float32)
    wave[1::2] *= -1
    return wave


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), dtype=np.float32)


def test_a_tone_between_silences() -> None:
    """Silence before and behind is told in seconds; loudness is the power of what sounds, -6.02 dB at half scale."""
    found = measure(np.concatenate([quiet(0.25), tone(1.0), quiet(0.5)]), RATE)
    assert (found.seconds, found.leading, found.trailing) == (1.75, 0.25, 0.5)
    assert found.loudness == pytest.approx(-6.0206, abs=1e-3)
    assert (found.clipped, found.runs, found.silent) == (0, False, False)
    assert found.offset == pytest.approx(0, abs=1e-9)


def test_a_pause_is_not_loudness() -> None:
    """Frames below -40 dB of the loudest one are left out of the loudness, wherever they lie."""
    found = measure(np.concatenate([tone(0.5), quiet(0.5), tone(0.5)]), RATE)
    assert (found.leading, found.trailing) == (0, 0)
    assert found.loudness == pytest.approx(-6.0206, abs=1e-3)


@pytest.mark.parametrize(("level", "silent"), [(0.0, True), (3e-4, True), (3.3e-4, False)])
def test_silent_files(level: float, silent: bool) -> None:
    """Below -70 dBFS throughout, all of a file is leading and trailing silence, and digital zeros are -120 dBFS."""
    found = measure(tone(0.5, level), RATE)
    assert found.silent == silent
    assert (found.leading, found.trailing) == ((0.5, 0.5) if silent else (0, 0))
    assert found.loudness == pytest.approx(20 * np.log10(level) if level else -120, abs=1e-3)


def test_an_offset_is_no_sound() -> None:
    """A constant is an offset and silence."""
    found = measure(np.full(RATE, 0.25, dtype=np.float32), RATE)
    assert (found.offset, found.silent, found.loudness) == (0.25, True, -120)


@pytest.mark.parametrize(("loud", "runs"), [([5], False), ([5, 6], False), ([5, 6, 7], True), ([5, 7, 9], False)])
def test_clipping(loud: list[int], runs: bool) -> None:
    """Samples at the highest or lowest value count; three side by side are a run."""
    wave = tone(100 / RATE, 0.1)
    wave[loud] = 32767 / 32768
    wave[loud[0]] = -1
    found = measure(wave, RATE)
    assert found.clipped == pytest.approx(len(loud) / 100)
    assert found.runs == runs


@given(
    wave=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=1000),
    rate=st.sampled_from([8_000, 16_000, 22_050]),
)
def test_silence_is_that_of_the_probe(wave: list[float], rate: int) -> None:
    """At 16 kHz leading and trailing silence add up to the score of `probe-silence`; facts are finite at any rate."""
    samples = np.array(wave, dtype=np.float32)
    found = measure(samples, rate)
    assert np.isfinite(found[:8]).all()
    assert 0 <= found.leading <= found.seconds and 0 <= found.trailing <= found.seconds
    if rate == RATE and not found.silent:
        probe = SilenceProbe().measure(torch.from_numpy(samples)).item()
        assert found.leading + found.trailing == pytest.approx(probe, abs=1e-9)


def test_long_files_are_measured_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a block does not matter."""
    wave = np.random.default_rng(0).normal(0, 0.1, 5_000).astype(np.float32)
    whole = measure(wave, RATE)
    monkeypatch.setattr(facts, "BLOCK", 3)
    assert measure(wave, RATE) == whole


def test_digests() -> None:
    """Equal samples at an equal rate have equal digests, whatever their place in memory; nothing else has."""
    wave = tone(0.1)
    digest = measure(wave, RATE).digest
    assert measure(np.repeat(wave, 2)[::2], RATE).digest == digest
    changed = wave.copy()
    changed[7] += 1e-4
    assert (
        len({digest, measure(wave, 8_000).digest, measure(changed, RATE).digest, measure(wave[:-1], RATE).digest}) == 4
    )


def test_a_record_is_small() -> None:
    """A recording costs at most 64 bytes, so that 600,000 of them are less than 40 MB."""
    assert FACTS.itemsize <= 64


def test_errors_by_kind() -> None:
    """What no decoder explains further is undecodable."""
    assert status_of(AudioError("no decoder reads this file (soundfile: x; PyAV: y)")) == Status.UNDECODABLE
    assert status_of(AudioError("truncated: 1 of 2 bytes of samples")) == Status.TRUNCATED
