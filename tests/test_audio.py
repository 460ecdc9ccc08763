"""Files to samples: exact values, exact windows, and one clear error for everything that is no audio."""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import audio
from bench.audio import fit_window
from bench.cards import AudioRecipe
from bench.errors import AudioError
from bench.trials import Span

RATE = 16_000
WHOLE = AudioRecipe(window="whole")


def noise(samples: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Samples (T, channels) float64 below full scale."""
    return 0.1 * np.random.default_rng(seed).standard_normal((samples, channels)).clip(-9, 9)


def save(path: Path, wave: np.ndarray, rate: int = RATE, **options: Any) -> Path:
    soundfile.write(path, wave, rate, **options)
    return path


def refusal(path: str | Path, recipe: AudioRecipe = WHOLE) -> AudioError:
    with pytest.raises(AudioError) as caught:
        audio.prepare(path, recipe)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    return caught.value


def by_pyav(path: Path) -> tuple[np.ndarray, int]:
    return audio._decode_pyav(audio._Source(path, None))


def patched(path: Path, fields: dict[int, bytes]) -> Path:
    """The file with other bytes at some positions."""
    data = bytearray(path.read_bytes())
    for at, value in fields.items():
        data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


# Decoding


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24), ("PCM_32", 32)])
def test_integers_become_floats_by_their_full_scale(tmp_path: Path, subtype: str, bits: int) -> None:
    """Division by 2^(bits - 1): the lowest integer is -1, the highest just below 1."""
    step = 1 << (32 - bits)
    integers = np.array([-(2**31), -step, 0, step, 2**31 - step], dtype=np.int32)
    wave, rate = audio.decode(save(tmp_path / "a.wav", integers, subtype=subtype))
    assert rate == RATE and wave.dtype == np.float32
    np.testing.assert_array_equal(wave, (integers.astype(np.float64) / 2**31).astype(np.float32))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.flac", "PCM_16"),
        ("a.flac", "PCM_24"),
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "PCM_U8"),
        ("a.wav", "FLOAT"),
        ("a.wav", "ULAW"),
    ],
)
def test_both_decoders_agree_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, subtype: str, channels: int
) -> None:
    """A file that libsndfile refuses gives the samples that it would have given."""
    path = save(tmp_path / name, noise(20_011, channels), subtype=subtype)
    expected, rate = audio.decode(path)
    header = audio.header(path)

    def refuse(*_: object) -> None:
        raise soundfile.LibsndfileError(0, "flac decoder lost sync: ")

    monkeypatch.setattr(audio, "_decode_soundfile", refuse)
    monkeypatch.setattr(soundfile, "info", refuse)
    wave, again = audio.decode(path)
    assert wave.dtype == np.float32 and rate == again == RATE
    np.testing.assert_array_equal(wave, expected)
    assert audio.header(path) == header == (20_011 / RATE, RATE, channels)


def test_channels_are_averaged(tmp_path: Path) -> None:
    """Mono is the mean of the channels, however many."""
    for channels in (2, 3, 6):
        wave = noise(500, channels)
        mono, _ = audio.decode(save(tmp_path / "a.wav", wave, subtype="DOUBLE"))
        np.testing.assert_allclose(mono, wave.mean(axis=1), atol=1e-7)


def test_long_files_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks leave no seam."""
    path = save(tmp_path / "a.wav", noise(1_000, 2))
    expected, _ = audio.decode(path)
    monkeypatch.setattr(audio, "BLOCK", 14)
    np.testing.assert_array_equal(audio.decode(path)[0], expected)


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "webm", "ogg"])
def test_lossy_files_are_read(tmp_path: Path, suffix: str) -> None:
    """A user's own recordings: a second of a tone is a second of about its level, in the header too."""
    path = tmp_path / f"a.{suffix}"
    codec = {"mp3": "mp3", "m4a": "aac", "webm": "libopus", "ogg": "libopus"}[suffix]
    tone = np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((tone[None] * 16_384).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.frame_size or 1_152)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))
    heard = audio.prepare(path, WHOLE)
    assert heard.seconds == pytest.approx(1, abs=0.1)
    assert audio.header(path).seconds == pytest.approx(heard.seconds, abs=0.06)
    assert np.sqrt((heard.wave[4_000:12_000] ** 2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_real_corpora_are_read(shared: Path) -> None:
    """Every file of the reduced corpora, by both decoders alike, with the samples its header promises."""
    files = [path for path in sorted((shared / "corpora").rglob("*")) if path.suffix in (".wav", ".flac")][::4]
    assert files
    for path in files:
        wave, rate = audio.decode(path)
        header = audio.header(path)
        assert (len(wave), rate) == (round(header.seconds * header.rate), header.rate)
        np.testing.assert_array_equal(by_pyav(path)[0], wave)


@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.aiff"])
@given(share=st.floats(0, 0.999))
@settings(max_examples=25, deadline=None)
def test_a_file_that_is_cut_short_is_refused(name: str, share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Wherever it ends: a score of half a file is no score of the file."""
    path = save(tmp_path_factory.mktemp("cut") / name, noise(9_000))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * (len(data) - 1))])
    assert any(word in refusal(path).what for word in ("truncated", "no decoder reads this file", "0 bytes"))


def test_the_error_of_a_cut_file_counts(tmp_path: Path) -> None:
    """A WAV says how many bytes are there, a FLAC that ends with a whole frame how many samples."""
    path = save(tmp_path / "a.wav", noise(8_000))
    path.write_bytes(path.read_bytes()[: 44 + 6_000])
    assert refusal(path).what == "truncated: 6,000 of 16,000 bytes of samples"
    with pytest.raises(AudioError, match="truncated: 6,000 of 16,000 bytes of samples"):
        audio.header(path)
    path = save(tmp_path / "a.flac", noise(8_192))
    samples = (RATE << 44) + (15 << 36) + 9_000  # STREAMINFO: rate, channels, bits, samples
    patched(path, {18: samples.to_bytes(8, "big")})
    assert "PyAV: truncated: 8,192 of 9,000 samples" in refusal(path).what


def test_wav_from_a_pipe_is_read(tmp_path: Path) -> None:
    """Sizes that were never filled in promise nothing."""
    wave = noise(1_000)
    expected, _ = audio.decode(save(tmp_path / "a.wav", wave))
    for size in (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF024):
        path = save(tmp_path / "a.wav", wave)
        patched(path, {4: struct.pack("<I", size), 40: struct.pack("<I", size)})
        np.testing.assert_array_equal(audio.decode(path)[0], expected)
        assert audio.header(path) == (1_000 / RATE, RATE, 1)


def test_flac_from_a_pipe_is_read(tmp_path: Path) -> None:
    """A header of 0 samples leaves the length open: it is counted, never taken for 576 million years."""
    path = save(tmp_path / "a.flac", noise(8_000))
    expected, _ = audio.decode(path)
    patched(path, {21: bytes([path.read_bytes()[21] & 0xF0]), 22: bytes(4)})
    for wave, _ in (audio.decode(path), by_pyav(path)):
        np.testing.assert_array_equal(wave, expected)
    assert audio.header(path) == (0.5, RATE, 1)


def test_further_chunks_and_byte_orders_are_read(tmp_path: Path) -> None:
    """Chunks of odd size before the samples, big-endian RIFX, the extensible format, AIFF."""
    wave = noise(100)
    path = save(tmp_path / "a.wav", wave)
    expected, _ = audio.decode(path)
    data = path.read_bytes()
    path.write_bytes(data[:36] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + data[36:])
    np.testing.assert_array_equal(audio.decode(path)[0], expected)
    path.write_bytes(path.read_bytes()[:-1])
    assert "truncated: 199 of 200 bytes" in refusal(path).what
    for form, endian in (("WAV", "BIG"), ("WAVEX", None), ("AIFF", None)):
        path = save(tmp_path / "b.wav", wave, format=form, endian=endian, subtype="PCM_16")
        np.testing.assert_array_equal(audio.decode(path)[0], expected)
        path.write_bytes(path.read_bytes()[:-9])
        assert refusal(path).what.startswith("truncated: ")


def test_a_short_read_of_one_decoder_is_left_to_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header counts: libsndfile that ends early without a word is not believed."""
    path = save(tmp_path / "a.flac", noise(1_000))
    expected, _ = audio.decode(path)
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda file, *a, **k: read(file, *a, **k)[: 500 - file.tell() // 2]
    )
    monkeypatch.setattr(audio, "BLOCK", 700)
    with pytest.raises(AudioError, match=r"truncated: .* of 1,000 samples"):
        audio._decode_soundfile(audio._Source(path, None))
    np.testing.assert_array_equal(audio.decode(path)[0], expected)


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    """A WAV of a format tag without a decoder."""
    path = patched(save(tmp_path / "a.wav", noise(100)), {20: b"\x42\x42"})
    assert refusal(path).what.startswith("no decoder reads this file (soundfile: ")
    with pytest.raises(AudioError, match="no decoder reads this file"):
        audio.header(path)


def test_a_title_in_any_encoding_does_no_harm(tmp_path: Path) -> None:
    """Latin-1 in the tags of a file that only the second decoder reads."""
    path = save(tmp_path / "a.wav", noise(100))
    data = path.read_bytes()
    tag = b"LIST" + struct.pack("<I", 16) + b"INFOINAM" + struct.pack("<I", 4) + b"\xe9\xe8\xff\0"
    path.write_bytes(data[:36] + tag + data[36:])
    assert len(by_pyav(path)[0]) == 100


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "raw"])
def test_what_is_no_audio_is_refused(tmp_path: Path, suffix: str) -> None:
    """Text, a web page, zeros, a bare magic number: what both decoders said, and what to do."""
    path = tmp_path / f"a.{suffix}"
    for content in (
        b"hello world\n" * 50,
        b"<html><body>404</body></html>",
        bytes(3_000),
        b"fLaC",
        b"RIFF",
        b"RIFF\xff\xff",
    ):
        path.write_bytes(content)
        error = refusal(path)
        assert (
            error.what.startswith("no decoder reads this file (")
            and "soundfile: " in error.what
            and "PyAV: " in error.what
        )
        assert error.remedy == "it is damaged, cut short or no audio: fetch it again"
        with pytest.raises(AudioError, match="no decoder reads this file"):
            audio.header(path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """Missing, empty, a folder, a pipe that nobody writes to, a name that no file can have."""
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    for name, what in {
        "missing.wav": "the file is missing",
        "empty.wav": "the file is empty (0 bytes)",
        ".": "the file is missing",
        "pipe.wav": "the file is missing",
        "a\0b": "the file is missing",
        "x" * 300: "the file cannot be opened: File name too long",
    }.items():
        assert refusal(tmp_path / name).what == what
        with pytest.raises(AudioError) as caught:
            audio.header(tmp_path / name)
        assert caught.value.what == what
    assert refusal("").what == "the file is missing"


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    """A header alone is no recording."""
    for name in ("a.wav", "a.aiff"):
        path = save(tmp_path / name, noise(0))
        assert refusal(path).what == "the file holds no samples"
        with pytest.raises(AudioError, match="the file holds no samples"):
            audio.header(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    """The first of them is named; one NaN would make the whole window NaN."""
    wave = noise(100).astype(np.float32)
    wave[[40, 60]] = value
    assert refusal(save(tmp_path / "a.wav", wave, subtype="FLOAT")).what == "sample 40 is NaN or infinite"


def test_a_playlist_reads_no_other_file(tmp_path: Path) -> None:
    """FFmpeg would follow a playlist of any name; a corpus must not make the harness open other files."""
    secret = save(tmp_path / "secret.wav", noise(100))
    playlist = tmp_path / "a.wav"
    for content in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.wav\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na={secret}\n",
    ):
        playlist.write_text(content)
        assert refusal(playlist).what.startswith("no decoder reads this file")


def test_file_names_are_taken_as_they_are(tmp_path: Path) -> None:
    """Umlauts, spaces, protocols of FFmpeg, the suffix .raw, bytes that are no UTF-8."""
    for name in ("Grüße %03d.wav", "concat:a|b.wav", "data:x.flac", "-", "a.raw", os.fsdecode(b"\xe9.wav")):
        source = save(tmp_path / "source.wav", noise(100))
        path = source.rename(tmp_path / name)
        assert len(audio.decode(path)[0]) == len(by_pyav(path)[0]) == 100
        assert audio.header(path) == (100 / RATE, RATE, 1)


@given(
    seed=st.integers(0, 2**32), edits=st.integers(1, 6), name=st.sampled_from(["a.wav", "a.flac", "a.ogg", "a.aiff"])
)
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_samples_or_an_audio_error(
    seed: int, edits: int, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever bytes are changed: finite mono samples, or the one error of this module."""
    path = save(tmp_path_factory.mktemp("damaged") / name, noise(600, 2))
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for at in random.integers(0, [min(80, len(data))] * 3 + [len(data)] * 3)[:edits]:
        data[at] = random.integers(256)
    path.write_bytes(data)
    for read in (audio.decode, by_pyav):
        try:
            wave, rate = read(path)
        except audio.PYAV_REFUSALS:
            continue
        assert wave.ndim == 1 and wave.dtype == np.float32 and rate > 0
    try:
        heard = audio.prepare(path, WHOLE)
        assert np.isfinite(heard.wave).all() and heard.length == len(heard.wave) > 0
    except AudioError as error:
        assert error.where == str(path)


# Resampling


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000])
def test_resampling_is_torchaudios(rate: int) -> None:
    """Bit for bit what torchaudio.functional.resample makes of a float32 waveform, ceil(T * 16000 / rate) samples."""
    for length in (1, 10, 4_001):
        wave = noise(length)[:, 0].astype(np.float32)
        resampled = audio.resample(wave, rate, RATE)
        expected = torchaudio.functional.resample(torch.from_numpy(wave), rate, RATE).numpy()
        np.testing.assert_array_equal(resampled, expected)
        assert len(resampled) == -(-length * RATE // rate)


def test_the_own_rate_is_left_alone() -> None:
    """No filter touches a file that has the detector's rate."""
    wave = noise(100)[:, 0].astype(np.float32)
    assert audio.resample(wave, RATE, RATE) is wave


def test_a_tone_stays_the_tone(tmp_path: Path) -> None:
    """Stereo at 44.1 kHz, one channel silent: half the tone, at 16 kHz, where it would be sampled directly."""
    time = np.arange(44_100) / 44_100
    stereo = np.stack([0.5 * np.sin(2 * np.pi * 440 * time), np.zeros(44_100)], axis=1)
    heard = audio.prepare(save(tmp_path / "a.flac", stereo, 44_100), WHOLE)
    assert (len(heard.wave), heard.length, heard.seconds) == (RATE, RATE, 1)
    direct = 0.25 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(heard.wave[100:-100], direct[100:-100], atol=1e-3)


@pytest.mark.parametrize("rate", [1, 999, 44_101, 2**31 - 1])
def test_a_hostile_sample_rate_is_refused(tmp_path: Path, rate: int) -> None:
    """A header of a few bytes must not ask for terabytes, neither of kernel nor of samples."""
    path = save(tmp_path / "a.wav", noise(10), rate)
    error = refusal(path)
    assert error.what == f"a sample rate of {rate} Hz cannot be resampled to 16000 Hz"
    assert error.remedy == "convert the file to 16000 Hz first"


# Windows


def reference_window(wave: np.ndarray, window: str, samples: int | None, epsilon: float | None) -> np.ndarray:
    """The window in float64, step by step as the authors' loaders and the transformers feature extractor do it."""
    cut = wave.astype(np.float64)[:samples]
    if epsilon is not None:
        cut = (cut - cut.mean()) / np.sqrt(((cut - cut.mean()) ** 2).mean() + epsilon)
    if samples is None or len(cut) == samples:
        return cut
    if window == "pad":
        return np.concatenate([cut, np.zeros(samples - len(cut))])
    return np.tile(cut, samples // len(cut) + 1)[:samples]


WINDOWS = [("tile", 64), ("pad", 64), ("whole", None)]


@pytest.mark.parametrize("epsilon", [None, 1e-7, 1e-5])
@pytest.mark.parametrize(("window", "samples"), WINDOWS)
@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 63, 64, 65, 128, 129])
def test_windows_are_those_of_the_authors(length: int, window: Any, samples: int | None, epsilon: float | None) -> None:
    """Cut, normalise, fill up: exact at every boundary, equal to an independent formula."""
    wave = noise(length, seed=length)[:, 0].astype(np.float32)
    recipe = AudioRecipe(window=window, samples=samples, epsilon=epsilon)
    fitted = fit_window(wave, recipe)
    assert fitted.dtype == np.float32
    expected = reference_window(wave, window, samples, epsilon)
    if epsilon is None:
        np.testing.assert_array_equal(fitted, expected)
    else:
        np.testing.assert_allclose(fitted, expected, rtol=1e-4, atol=2e-5)


@given(length=st.integers(1, 300), samples=st.integers(1, 200), normalised=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_window_has_its_length_and_begins_with_the_file(
    length: int, samples: int, normalised: bool, seed: int
) -> None:
    """`samples` long; the beginning is the file's; a tile repeats with the file's period; a pad ends in exact zeros."""
    wave = noise(length, seed=seed)[:, 0].astype(np.float32)
    epsilon = 1e-7 if normalised else None
    tile, pad = (fit_window(wave, AudioRecipe(window=w, samples=samples, epsilon=epsilon)) for w in ("tile", "pad"))
    assert len(tile) == len(pad) == samples
    start = min(length, samples)
    np.testing.assert_array_equal(tile[:start], pad[:start])
    if not normalised:
        np.testing.assert_array_equal(tile[:start], wave[:start])
    np.testing.assert_array_equal(tile[length:], tile[:-length] if samples > length else tile[:0])
    assert not pad[start:].any()


def test_normalisation_is_over_the_real_samples_of_the_window() -> None:
    """Zero mean and unit variance of what is there; neither padding nor what was cut off counts."""
    wave = np.concatenate([noise(100)[:, 0], 1e3 * noise(100)[:, 0]]).astype(np.float32)
    cut = fit_window(wave, AudioRecipe(window="pad", samples=100, epsilon=1e-7))
    padded = fit_window(wave[:100], AudioRecipe(window="pad", samples=400, epsilon=1e-7))
    np.testing.assert_array_equal(cut, padded[:100])
    assert cut.mean() == pytest.approx(0, abs=1e-6) and cut.std() == pytest.approx(1, abs=1e-4)


def test_the_epsilon_matters_where_it_is_quiet() -> None:
    """1e-7 (feature extractor) and 1e-5 (layer_norm) differ by the formula, and layer_norm is torch's."""
    wave = (0.01 * noise(1_000)[:, 0]).astype(np.float32)
    by = {eps: fit_window(wave, AudioRecipe(window="whole", epsilon=eps)).std() for eps in (1e-7, 1e-5)}
    variance = wave.astype(np.float64).var()
    for epsilon, spread in by.items():
        assert spread == pytest.approx(np.sqrt(variance / (variance + epsilon)), rel=1e-4)
    assert by[1e-7] > 1.5 * by[1e-5]
    normed = torch.nn.functional.layer_norm(torch.from_numpy(wave), wave.shape, eps=1e-5).numpy()
    np.testing.assert_allclose(fit_window(wave, AudioRecipe(window="whole", epsilon=1e-5)), normed, atol=1e-6)


def test_silence_stays_silence() -> None:
    """No division by zero: a constant file is zero after normalisation."""
    for level in (0, 0.25):
        wave = np.full(1_000, level, dtype=np.float32)
        assert not fit_window(wave, AudioRecipe(window="tile", samples=4_000, epsilon=1e-7)).any()


@pytest.mark.parametrize(("window", "samples", "length"), [("tile", 64, 64), ("pad", 64, 10), ("whole", None, 10)])
def test_ten_samples_are_enough(tmp_path: Path, window: Any, samples: int | None, length: int) -> None:
    """The shortest files give a whole window; the length counts zeros of a pad out, repetitions of a tile in."""
    heard = audio.prepare(save(tmp_path / "a.wav", noise(10)), AudioRecipe(window=window, samples=samples))
    assert (len(heard.wave), heard.length, heard.seconds) == (samples or 10, length, 10 / RATE)


def test_the_length_of_a_cut_file_is_that_of_its_window(tmp_path: Path) -> None:
    """The duration stays that of the file."""
    path = save(tmp_path / "a.wav", noise(100))
    for window in ("tile", "pad"):
        heard = audio.prepare(path, AudioRecipe.model_validate({"window": window, "samples": 64}))
        assert (len(heard.wave), heard.length, heard.seconds) == (64, 64, 100 / RATE)


def test_twenty_minutes_are_read(tmp_path: Path) -> None:
    """A long file of another rate is decoded whole and resampled in one piece."""
    seconds = 1_200
    path = save(tmp_path / "a.flac", np.full(seconds * 8_000, 0.5), 8_000)
    heard = audio.prepare(path, WHOLE)
    assert (len(heard.wave), heard.seconds) == (seconds * RATE, seconds)
    np.testing.assert_allclose(heard.wave[1_000:-1_000:997], 0.5, atol=1e-2)


def test_a_file_that_decodes_to_far_more_than_it_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes of FLAC silence may be hours: the limit is told before the memory is full, by either decoder."""
    monkeypatch.setattr(audio, "MAX_SAMPLES", 50_000)
    place = tmp_path / "bomb.flac"
    soundfile.write(place, np.zeros(50_001, np.float32), RATE)
    for decode in (audio.decode, by_pyav):
        with pytest.raises(AudioError, match="longer than 50,000 samples") as caught:
            decode(place)
        assert caught.value.remedy == "cut it into pieces"
    soundfile.write(place, np.zeros(50_000, np.float32), RATE)
    assert len(audio.decode(place)[0]) == 50_000


# Pieces of files


@given(cuts=st.lists(st.floats(0, 1), max_size=6), rate=st.sampled_from([8_000, 11_025, 44_100]))
@settings(max_examples=40, deadline=None)
def test_pieces_that_touch_have_every_sample_once(
    cuts: list[float], rate: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever a file is cut, its pieces one behind the other are the file; pieces of no sample are left out."""
    path = save(tmp_path_factory.mktemp("cut") / "a.wav", noise(rate), rate)
    whole, _ = audio.decode(path)
    ends = [0.0, *sorted(cuts), None]
    spans = [Span(start or 0.0, stop) for start, stop in itertools.pairwise(ends)]
    kept = [
        span for span in spans if round(span.start * rate) < (rate if span.stop is None else round(span.stop * rate))
    ]
    pieces = [audio.decode(path, span)[0] for span in kept]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    for span, piece in zip(kept, pieces, strict=True):
        assert audio.header(path).piece(span, path) == (len(piece) / rate, rate, 1)


@pytest.mark.parametrize("window", ["tile", "pad", "whole"])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_piece_is_prepared_as_a_file_of_its_own(tmp_path: Path, window: str, rate: int) -> None:
    """Cut at the file's own rate before it is resampled, windowed and normalised."""
    wave = (noise(2 * rate, 2) * 32_768).astype(np.int16)
    path = save(tmp_path / "a.flac", wave, rate)
    own = save(tmp_path / "b.flac", wave[rate // 2 : rate], rate)
    samples = None if window == "whole" else 12_000
    recipe = AudioRecipe.model_validate({"window": window, "samples": samples, "epsilon": 1e-7})
    piece, alone = audio.prepare(path, recipe, Span(0.5, 1.0)), audio.prepare(own, recipe)
    np.testing.assert_array_equal(piece.wave, alone.wave)
    assert (piece.length, piece.seconds) == (alone.length, alone.seconds) == (alone.length, (rate - rate // 2) / rate)


@pytest.mark.parametrize("span", [None, Span(0.5, 1.0)])
def test_a_perturbed_trial_is_prepared_as_a_file_of_its_own(tmp_path: Path, span: Span | None) -> None:
    """Changed behind the cut and at the file's own rate; all else, the duration too, is that of the changed samples."""
    rate = 44_100
    path = save(tmp_path / "a.wav", noise(2 * rate), rate)
    raw, _ = audio.decode(path, span)
    own = save(tmp_path / "b.wav", raw[::-1][1_000:], rate, subtype="FLOAT")
    recipe = AudioRecipe(window="pad", samples=40_000, epsilon=1e-7)

    def perturb(wave: np.ndarray, rate_of_it: int) -> np.ndarray:
        np.testing.assert_array_equal(wave, raw)
        assert rate_of_it == rate
        return wave[::-1][1_000:].copy()

    made, alone = audio.prepare(path, recipe, span, perturb), audio.prepare(own, recipe)
    np.testing.assert_array_equal(made.wave, alone.wave)
    assert (made.length, made.seconds) == (alone.length, alone.seconds) == (alone.length, (len(raw) - 1_000) / rate)


def test_a_file_that_cannot_be_perturbed_is_named(tmp_path: Path) -> None:
    """A perturbation knows no file; whoever has thousands of them must."""
    path = save(tmp_path / "a.wav", noise(100), 44_100)
    with pytest.raises(AudioError, match="44100 Hz cannot be resampled to 44099 Hz") as caught:
        audio.prepare(path, WHOLE, None, lambda wave, rate: audio.resample(wave, rate, 44_099))
    assert caught.value.where == str(path)
    assert caught.value.remedy


def test_lists_may_be_a_little_wrong_about_the_end_of_a_file(tmp_path: Path) -> None:
    """Up to 0.1 s behind the end is the end: headers of lossy files and rounded lists are no more exact."""
    path = save(tmp_path / "a.wav", noise(RATE))
    whole, _ = audio.decode(path)
    np.testing.assert_array_equal(audio.decode(path, Span(0.5, 1.1))[0], whole[RATE // 2 :])
    assert audio.header(path).piece(Span(0.5, 1.1), path).seconds == 0.5


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (Span(1.0, None), "the piece begins at 1 s, the file ends at 1.000 s"),
        (Span(1.05, 1.08), "the piece begins at 1.05 s, the file ends at 1.000 s"),
        (Span(1e308, None), "the piece begins at 1e+308 s, the file ends at 1.000 s"),
        (Span(0.5, 1.2), "the piece stops at 1.2 s, the file ends at 1.000 s"),
        (Span(0.5, 0.5 + 1e-6), "the piece begins at 0.5 s, the file ends at 1.000 s"),
    ],
)
def test_a_piece_that_is_not_in_its_file_is_refused(tmp_path: Path, span: Span, message: str) -> None:
    """By its samples and by the header; it is not taken for a shorter one."""
    path = save(tmp_path / "a.wav", noise(RATE))
    for look in (lambda: audio.prepare(path, WHOLE, span), lambda: audio.header(path).piece(span, path)):
        with pytest.raises(AudioError) as caught:
            look()
        assert (caught.value.what, caught.value.where) == (message, str(path))
        assert caught.value.remedy and "`start` and `stop`" in caught.value.remedy


def test_the_file_that_stays_decoded_is_the_one_on_disk(tmp_path: Path) -> None:
    """A file that changed under its name is decoded anew, and whoever changes a piece changes no other."""
    path = save(tmp_path / "a.wav", np.full(100, 0.5))
    first, _ = audio.decode(path, Span(0.0, 0.003))
    first[:] = 0
    assert (audio.decode(path, Span(0.0, 0.003))[0] == 0.5).all()
    save(path, np.full(120, 0.25))
    assert (audio.decode(path, Span(0.0, 0.003))[0] == 0.25).all()
    assert audio._last_decoded.cache_info().maxsize == 1
    path.unlink()
    with pytest.raises(AudioError, match="the file is missing"):
        audio.decode(path, Span(0.0, 0.003))


def test_headers_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, with the reason in place of a header that cannot be read, in portions."""
    monkeypatch.setattr(audio, "HEADERS_AHEAD", 3)
    paths = [str(save(tmp_path / f"{number}.wav", noise(10 + number))) for number in range(7)]
    Path(paths[4]).write_text("no audio")
    found = list(audio.headers(paths))
    assert isinstance(found.pop(4), AudioError)
    assert found == [audio.header(path) for path in paths if path != paths[4]]
