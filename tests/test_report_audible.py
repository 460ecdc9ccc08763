"""What is heard and seen of a trial: its own samples, copied only where the licence allows."""

from __future__ import annotations

import io
import pickle
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench import audio, corpora, perturbations, registry
from bench.errors import AudioError, Blocked, CardError
from bench.report import pictures
from bench.report.audible import SECONDS, Clip, Corpus, Recordings, content_name
from bench.trials import digest, first_trials

RATE = 16_000
OPEN = "redistributable: true"


def tone(seconds: float = 0.5, hertz: float = 1000, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A data root of a corpus `calls` whose card allows copies."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "root" / "calls").mkdir(parents=True)
    return tmp_path


def corpus(
    place: Path,
    rows: list[str],
    *,
    name: str = "calls",
    header: str = "path,label",
    says: str = "redistributable: true",
) -> Corpus:
    """The corpus of a list beside its files, as a cell on that very list finds it."""
    (place / "root" / "calls" / "list.csv").write_text("\n".join([header, *rows]))
    text = "name: calls\ntitle: Calls\nsummary: s\nlicence: CC BY 4.0\nobtain: o\n"
    reader = "reader: bench.corpora.protocol_csv:read\narguments: {file: calls/list.csv}\n"
    (place / "cards" / "calls.yaml").write_text(f"{text}{reader}{says}\n")
    trials = corpora.load(registry.datasets(place / "cards")["calls"], place / "root").trials
    identity = digest(first_trials(trials, 2) if name.endswith(":2") else trials)
    return Recordings(place / "root", {}, place / "cards").corpus(name, identity)


def save(place: Path, name: str, wave: np.ndarray, rate: int = RATE, **options: Any) -> Path:
    file = place / "root" / "calls" / name
    soundfile.write(file, wave, rate, **options)
    return file


def played(clip: Clip) -> tuple[np.ndarray, int]:
    assert clip.audio is not None
    wave, rate = soundfile.read(io.BytesIO(clip.audio), dtype="float32")
    return wave, rate


def only(found: Corpus, row: int = 0) -> Clip:
    return found.clip(found.trials["trial"].iloc[row])


# Copies


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.wav", {}), ("a.flac", {}), ("a.ogg", {}), ("a.mp3", {}), ("b.wav", {"subtype": "FLOAT"})],
)
def test_what_browsers_play_is_copied_byte_for_byte(place: Path, name: str, options: dict[str, Any]) -> None:
    """A whole plain file in a format of theirs, under a name that follows from its content."""
    file = save(place, name, tone(), **options)
    clip = only(corpus(place, [f"{name},real", "none.wav,fake"]))
    assert (clip.audio, clip.suffix, clip.notes) == (file.read_bytes(), file.suffix, ())
    assert clip.file == content_name(file.read_bytes(), file.suffix)
    assert re.fullmatch(r"[0-9a-f]{16}\.\w+", clip.file)


@pytest.mark.parametrize(("name", "options"), [("a.aiff", {}), ("a.wav", {"subtype": "PCM_32"})])
def test_any_other_format_is_coded_anew(place: Path, name: str, options: dict[str, Any]) -> None:
    """As FLAC of 16 bits, mono, at the file's own rate."""
    stereo = np.stack([tone(rate=22_050), np.zeros_like(tone(rate=22_050))], axis=1)
    save(place, name, stereo, 22_050, **options)
    clip = only(corpus(place, [f"{name},real"]))
    wave, rate = played(clip)
    assert (clip.suffix, rate, wave.ndim, clip.notes) == (".flac", 22_050, 1, ())
    np.testing.assert_allclose(wave, tone(rate=22_050) / 2, atol=2 / 32768)


def test_the_suffix_is_that_of_the_content(place: Path) -> None:
    """A FLAC called .wav is played as what it is."""
    save(place, "a.wav", tone(), format="FLAC")
    assert only(corpus(place, ["a.wav,real"])).suffix == ".flac"


def test_a_high_rate_and_samples_beyond_one_are_made_playable(place: Path) -> None:
    """Above 48 kHz at 48 kHz; a wave that would clip is quieter, not cut."""
    save(place, "a.aiff", tone(rate=96_000, level=2.0), 96_000, subtype="FLOAT")
    wave, rate = played(only(corpus(place, ["a.aiff,real"])))
    assert rate == 48_000
    np.testing.assert_allclose(np.sort(np.abs(wave))[-20:], 1, atol=0.01)
    assert np.count_nonzero(np.abs(wave) > 0.99) < len(wave) / 6  # clipped, it would be two thirds


def test_a_long_trial_is_heard_for_its_first_minute(place: Path) -> None:
    """And the page says so."""
    save(place, "a.wav", tone(SECONDS + 5, rate=1000), 1000)
    clip = only(corpus(place, ["a.wav,real"]))
    assert len(played(clip)[0]) == SECONDS * 1000
    assert (clip.seconds, clip.notes) == (SECONDS, ("the first 60 of 65.0 s",))


def test_a_piece_is_what_its_detector_heard(place: Path) -> None:
    """The samples from start to stop alone."""
    save(place, "a.wav", np.concatenate([np.zeros(RATE, np.float32), tone(1.0)]))
    clip = only(corpus(place, ["a.wav,real,1,1.5"], header="path,label,start,stop"))
    np.testing.assert_allclose(played(clip)[0], tone(0.5), atol=2 / 32768)
    assert clip.notes == ("cut out of its file from 1 s on",)


def test_a_perturbed_trial_is_what_its_detector_heard(place: Path) -> None:
    """The very noise of scoring, which follows from the trial id, and of a sample of the dataset too."""
    save(place, "a.wav", tone())
    for name in ("calls+noise@15db", "calls+noise@15db:2"):
        found = corpus(place, ["a.wav,real", "b.wav,fake", "c.wav,fake"], name=name)
        noisy = perturbations.split("calls+noise@15db")[1]
        assert noisy is not None
        trial = found.trials["trial"][0]
        clip = found.clip(trial)
        expected = noisy(audio.decode(place / "root" / "calls" / "a.wav")[0], RATE, trial)
        np.testing.assert_allclose(played(clip)[0], expected, atol=2 / 32768)
        assert clip.notes == ("white noise at an SNR of 15 dB",)


def test_without_the_word_of_the_card_nothing_is_copied(place: Path) -> None:
    """The pictures are there all the same."""
    save(place, "a.wav", tone())
    clip = only(corpus(place, ["a.wav,real"], says="listed: false"))
    assert (clip.audio, clip.file) == (None, "")
    assert clip.spectrogram.startswith(b"\x89PNG")


def test_a_file_that_is_no_audio_is_an_error(place: Path) -> None:
    """As when it was scored."""
    (place / "root" / "calls" / "a.wav").write_text("<html>")
    found = corpus(place, ["a.wav,real", "b.wav,fake"])
    for row, what in enumerate(("no decoder reads this file", "the file is missing")):
        with pytest.raises(AudioError, match=what):
            only(found, row)


# Corpora


def test_places_are_told_below_the_root(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never from the root of the file system, however root and file are spelt: a file elsewhere has its bare name."""
    monkeypatch.chdir(place / "cards")
    inside = place / "root" / "calls" / "a.wav"
    (place / "link").symlink_to(place / "root")
    paths = [inside, Path("..", "root", "calls", "a.wav"), place / "link" / "calls" / "a.wav", place / "b.wav", ""]
    trials = pd.DataFrame({"trial": list("abcde"), "path": list(map(str, paths))})
    card = corpus(place, ["a.wav,real"]).card
    for root in (place / "root", Path("..", "root"), place / "link"):
        found = Corpus(card, trials, root, "calls")
        assert [found.place(trial) for trial in "abcde"] == [*["calls/a.wav"] * 3, "b.wav", ""]


def test_a_corpus_must_have_the_list_of_the_scores(place: Path) -> None:
    """Else what is heard could be another trial; the digests are told."""
    found = corpus(place, ["a.wav,real"])
    here = digest(found.trials)[:12]
    with pytest.raises(Blocked) as caught:
        Recordings(place / "root", {}, place / "cards").corpus("calls", "f" * 64)
    assert caught.value.what == (
        f"the calls here has another trial list (digest {here}) than these scores (ffffffffffff)"
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("strange", "strange has no card, so nothing says that its audio may be published"),
        ("itw", "meta.csv of In-the-Wild is not here"),
    ],
)
def test_a_corpus_that_is_not_here_says_so(tmp_path: Path, name: str, what: str) -> None:
    """The user's own data has no card; a corpus may be on another machine."""
    with pytest.raises(Blocked) as caught:
        Recordings(tmp_path, {"strange": tmp_path}).corpus(name, "0" * 64)
    assert caught.value.what == what


def test_recordings_go_to_worker_processes() -> None:
    """They are places, nothing that is open."""
    recordings = Recordings(Path("data"), {"itw": Path("elsewhere")}, Path("cards"))
    assert pickle.loads(pickle.dumps(recordings)) == recordings


def test_which_cards_allow_copies() -> None:
    """Open licences with attribution alone; non-commercial ones, gated files and what is not clear do not."""
    found = {name for name, card in registry.datasets().cards.items() if card.redistributable}
    splits = {f"asvspoof2019-la{split}" for split in ("", "-train", "-dev")}
    phases = {f"asvspoof2021-la{phase}" for phase in ("", "-progress", "-hidden", "-all")}
    assert found == {"itw", "demo", "demo-train", "demo-dev"} | splits | phases


def test_a_card_with_a_licence_of_its_own_must_say_it_anew(tmp_path: Path) -> None:
    """A card that extends an open one has its word for the same licence only."""
    for name, more in (("same", ""), ("other", "licence: ours alone\n")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nextends: itw\n{more}")
    cards = registry.datasets(tmp_path)
    assert (cards["same"].redistributable, cards["other"].redistributable) == (True, False)
    (tmp_path / "wrong.yaml").write_text("name: wrong\nextends: itw\nredistributable: perhaps\n")
    with pytest.raises(CardError, match="`redistributable`"):
        registry.datasets(tmp_path).cards  # noqa: B018 (reading it is what fails)


# Pictures


def pixels(png: bytes) -> np.ndarray:
    """The colour numbers (height, width) of an indexed PNG, checksums verified."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(png):
        (size,), name = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        data = png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size]) == (zlib.crc32(name + data),)
        chunks[name] = data
        at += 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert (rows[:, 0] == 0).all()
    assert rows[:, 1:].max() * 3 < len(chunks[b"PLTE"])
    return rows[:, 1:]


@pytest.mark.parametrize("hertz", [300, 1000, 4000, 7000])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_tone_is_a_line_at_its_pitch(hertz: int, rate: int) -> None:
    """The brightest row is that of the tone on the mel scale from 0 to 8 kHz, the lowest at the bottom."""
    shown = pixels(pictures.spectrogram(tone(1.0, hertz, rate), rate))
    assert shown.shape == (pictures.MELS, 98)
    mel = np.log10(1 + hertz / 700) / np.log10(1 + 8000 / 700) * (pictures.MELS + 1)
    rows = pictures.MELS - shown[:, 10:-10].argmax(axis=0)  # counted from the bottom, from 1
    assert np.abs(rows - mel).max() <= 1
    assert shown.max() == pictures.SHADES - 1


@pytest.mark.parametrize("samples", [1, 100, 400, 16_000 * 9])
def test_a_spectrogram_of_any_length(samples: int) -> None:
    """At most so many columns; silence is dark."""
    shown = pixels(pictures.spectrogram(np.zeros(samples, np.float32), RATE))
    assert shown.shape == (pictures.MELS, min(pictures.FRAMES, max(1, 1 + (samples - 400) // 160)))
    assert not shown.any()


def test_a_waveform_has_the_bounds_of_each_column() -> None:
    """One stroke a column, from its highest to its lowest sample, up is positive."""
    wave = np.zeros(2400, np.float32)
    wave[5], wave[2398], wave[2399] = 1.0, -0.5, 7.0
    strokes = re.findall(r"m1 ?(-?\d+)v(\d+)", pictures.waveform(wave))
    assert len(strokes) == pictures.COLUMNS
    at, drawn = 0, []
    for rise, length in strokes:
        drawn.append((at + int(rise), at + int(rise) + int(length)))
        at = drawn[-1][1]
    assert drawn[0] == (0, 24)
    assert drawn[1] == (24, 25)
    assert drawn[-1] == (0, 36)


def test_a_waveform_of_one_sample() -> None:
    """Is one stroke."""
    assert pictures.waveform(np.zeros(1, np.float32)) == "M-.5 0m1 24v1"
