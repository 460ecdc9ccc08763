"""Perturbations: one spelling each, what they do to samples, and the same samples for everybody."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import registry
from bench.augmentation import codec
from bench.batches import plan_batches
from bench.errors import Blocked, UsageError
from bench.models.probes import SilenceProbe
from bench.perturbations import KINDS, Perturbation, Step, joined, split
from bench.runner import Scored
from bench.scorer import Scorer
from tests.augmentation.waves import noise, torch_threads, voice
from tests.passing import passed

RATE = 16_000
EACH = ("mp3@64k", "aac@32k", "opus@16k", "mulaw", "alaw", "g722", "noise@15db", "reverb", "resample@8k", "trim")


def made(spec: str) -> Perturbation:
    _, perturbation = split(f"itw+{spec}")
    assert perturbation is not None
    return perturbation


def perturbed(spec: str, wave: np.ndarray, rate: int = RATE, trial: str = "t1") -> np.ndarray:
    return made(spec)(wave, rate, trial)


def db(power: float) -> float:
    return float(10 * np.log10(power))


def snr_db(wave: np.ndarray, changed: np.ndarray) -> float:
    return db(np.sum(wave.astype(np.float64) ** 2) / np.sum((changed.astype(np.float64) - wave) ** 2))


# --- names ------------------------------------------------------------------------------------------------------------


@st.composite
def steps(draw: st.DrawFn) -> Step:
    name = draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[name]
    scale = 10**kind.decimals
    return Step(name, draw(st.integers(round(kind.lowest * scale), round(kind.highest * scale))) / scale)


@given(chain=st.lists(steps(), min_size=1, max_size=4).map(tuple))
def test_a_name_and_what_it_means_are_one_to_one(chain: tuple[Step, ...]) -> None:
    """Every amount that a kind takes has a spelling, and that spelling has this meaning alone."""
    perturbation = Perturbation(chain)
    name = joined("itw", perturbation)
    assert split(name) == ("itw", perturbation)
    assert name == f"itw+{perturbation.spec}" == "+".join(["itw", *(step.spec for step in chain)])


@pytest.mark.parametrize(
    ("spec", "expected", "words"),
    [
        ("mp3@64k", [Step("mp3", 64)], "mp3 at 64 kbit/s"),
        ("g722", [Step("g722")], "g722 at 64 kbit/s"),
        ("noise@-2.5db", [Step("noise", -2.5)], "white noise at an SNR of -2.5 dB"),
        ("reverb", [Step("reverb", 0.5)], "a synthetic room of RT60 0.5 s"),
        ("reverb@0.6s", [Step("reverb", 0.6)], "a synthetic room of RT60 0.6 s"),
        ("resample@11.025k", [Step("resample", 11.025)], "resampled to 11.025 kHz and back"),
        (
            "trim+opus@16k",
            [Step("trim"), Step("opus", 16)],
            "leading and trailing silence taken off, then opus at 16 kbit/s",
        ),
    ],
)
def test_the_spelling_and_the_words(spec: str, expected: list[Step], words: str) -> None:
    """By hand."""
    assert made(spec) == Perturbation(tuple(expected))
    assert made(spec).spec == spec
    assert made(spec).words == words
    assert split("itw") == ("itw", None)
    assert joined("itw", None) == "itw"


NO_PERTURBATION = "no perturbation is called {!r}"
MISSPELT = "{!r} is not how a perturbation is written"
KNOWN = "known: aac@32k, alaw, g722, mp3@32k, mulaw, noise@15db, opus@32k, resample@8k, reverb, trim"
ALLOWED = {
    "mp3": "allowed: mp3@6k to mp3@320k (whole numbers)",
    "noise": "allowed: noise@-50db to noise@100db (at most one decimal)",
    "reverb": "allowed: reverb or reverb@0.05s to reverb@5s (at most 2 decimals)",
    "resample": "allowed: resample@1k to resample@192k (at most 3 decimals)",
    "trim": "allowed: trim",
}


@pytest.mark.parametrize(
    ("text", "what", "hint", "known"),
    [
        ("nois@15db", NO_PERTURBATION, "did you mean noise@15db? ", KNOWN),
        ("MP3@32k", NO_PERTURBATION, "did you mean mp3@32k", KNOWN),
        ("echo", NO_PERTURBATION, "known: ", KNOWN),
        ("", NO_PERTURBATION, "known: ", KNOWN),
        ("noise@15.0db", MISSPELT, "did you mean noise@15db? ", ALLOWED["noise"]),
        ("noise@15dB", MISSPELT, "did you mean noise@15db? ", ALLOWED["noise"]),
        ("noise@-0db", MISSPELT, "did you mean noise@0db? ", ALLOWED["noise"]),
        ("noise@15.04db", MISSPELT, "did you mean noise@15db? ", ALLOWED["noise"]),
        ("noise", MISSPELT, "did you mean noise@15db? ", ALLOWED["noise"]),
        ("noise@101db", MISSPELT, "allowed: ", ALLOWED["noise"]),
        ("noise@nandb", MISSPELT, "allowed: ", ALLOWED["noise"]),
        ("noise@1e1db", MISSPELT, "allowed: ", ALLOWED["noise"]),
        (f"noise@{'9' * 400}db", MISSPELT, "allowed: ", ALLOWED["noise"]),
        ("mp3", MISSPELT, "did you mean mp3@32k? ", ALLOWED["mp3"]),
        ("mp3@064k", MISSPELT, "did you mean mp3@64k? ", ALLOWED["mp3"]),
        ("mp3@64 kbps", MISSPELT, "did you mean mp3@64k? ", ALLOWED["mp3"]),
        ("mp3@321k", MISSPELT, "allowed: ", ALLOWED["mp3"]),
        ("reverb@0.5s", MISSPELT, "did you mean reverb? ", ALLOWED["reverb"]),
        ("reverb@0.60s", MISSPELT, "did you mean reverb@0.6s? ", ALLOWED["reverb"]),
        ("resample@8khz", MISSPELT, "did you mean resample@8k? ", ALLOWED["resample"]),
        ("resample@8000", MISSPELT, "allowed: ", ALLOWED["resample"]),
        ("trim@1", MISSPELT, "did you mean trim? ", ALLOWED["trim"]),
    ],
)
def test_another_spelling_is_refused_with_the_one_that_is_meant(text: str, what: str, hint: str, known: str) -> None:
    """And with what is allowed; one meaning has one name, hence one cell."""
    for name in (f"itw+{text}", f"itw+trim+{text}"):
        with pytest.raises(UsageError) as caught:
            split(name)
        assert caught.value.what == what.format(text)
        assert caught.value.remedy is not None
        assert caught.value.remedy.startswith(hint)
        assert caught.value.remedy.endswith(known)


# --- the same for everybody -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*EACH, "reverb+noise@15db+opus@16k"])
def test_a_trial_is_the_same_whoever_asks(spec: str) -> None:
    """Bit for bit after a pickle, behind other trials, with other threads; the wave itself is left alone."""
    wave = np.pad(voice(22_050, 0.5), 3_000)
    given = wave.copy()
    first = perturbed(spec, wave, 22_050)
    perturbation = pickle.loads(pickle.dumps(made(spec)))
    perturbation(noise(4_000), RATE, "t2")
    with torch_threads(2):
        again = perturbation(wave, 22_050, "t1")
    assert first.dtype == again.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(wave, given)
    assert (spec == "trim") == (len(first) < len(wave))
    if "noise" in spec or "reverb" in spec:
        assert not np.array_equal(first, perturbation(wave, 22_050, "t2"))


def test_noise_is_drawn_from_spec_and_trial() -> None:
    """As anyone can draw it again: NumPy's default generator, seeded by sha256 over both, big-endian."""
    wave = noise(8_000)
    seed = int(hashlib.sha256(b"noise@15db\tLA_E_1000147").hexdigest(), 16)
    drawn = np.random.default_rng(seed).standard_normal(8_000)
    added = perturbed("noise@15db", wave, trial="LA_E_1000147").astype(np.float64) - wave
    np.testing.assert_allclose(added / np.sqrt(np.mean(added**2)), drawn / np.sqrt(np.mean(drawn**2)), atol=1e-4)


def test_the_steps_are_carried_out_from_left_to_right() -> None:
    """A chain begins as its first steps alone do, and its order is heard; the same step twice is not the same draw."""
    wave = noise(RATE)
    narrow_then_noisy, noisy_then_narrow = (perturbed(f"{a}+{b}", wave) for a, b in (EACH[8:5:-2], EACH[6:9:2]))
    highest = [db(spectrum(made)[6_000:].mean()) for made in (narrow_then_noisy, noisy_then_narrow)]
    assert highest[0] > highest[1] + 30
    once = perturbed("noise@15db", wave)
    np.testing.assert_array_equal(perturbed("noise@15db+resample@8k", wave), perturbed("resample@8k", once))
    twice = perturbed("noise@15db+noise@15db", wave)
    assert abs(np.corrcoef(once - wave, twice - once)[0, 1]) < 0.05


@pytest.mark.parametrize("spec", EACH)
@pytest.mark.parametrize("samples", [1, 2, 7, 161])
def test_short_waves_and_silence(spec: str, samples: int) -> None:
    """Lengths are kept however short, silence is no more than a codec's smallest step, and nothing becomes empty."""
    assert perturbed(spec, noise(samples)).shape == (samples,)
    silent = perturbed(spec, np.zeros(samples, np.float32))
    assert silent.shape == (samples,)
    assert np.abs(silent).max() < 0.0005


# --- what each does ---------------------------------------------------------------------------------------------------


def spectrum(wave: np.ndarray) -> np.ndarray:
    """Power of a second of samples by frequency in Hz."""
    return np.asarray(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2)


@pytest.mark.parametrize("snr", ["-5", "0", "2.5", "15", "40"])
def test_noise_has_the_stated_ratio(snr: str) -> None:
    """20 log10 of the RMS of the speech over that of what was added; the spectrum of which is flat."""
    wave = voice(RATE)
    noisy = perturbed(f"noise@{snr}db", wave)
    assert snr_db(wave, noisy) == pytest.approx(float(snr), abs=0.01)
    added = spectrum(noisy.astype(np.float64) - wave)
    assert [db(band.mean() / added.mean()) for band in np.array_split(added, 8)] == pytest.approx([0] * 8, abs=1)


def test_noise_is_not_clipped() -> None:
    """Full-scale speech with noise goes beyond 1, as in a file of floats."""
    wave = np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    assert np.abs(perturbed("noise@0db", wave)).max() > 2


@pytest.mark.parametrize("spec", [spec for spec in EACH if spec.partition("@")[0] in codec.FORMATS])
def test_codecs_are_those_of_the_augmentation(spec: str) -> None:
    """At the bit rate that the name says, clipped before."""
    name, _, amount = spec.partition("@")
    wave = 3 * voice(RATE, 0.3)
    expected = codec.round_trip(wave, RATE, name, int(amount.removesuffix("k")) if amount else None)
    np.testing.assert_array_equal(perturbed(spec, wave), expected)
    np.testing.assert_array_equal(perturbed(spec, np.clip(wave, -1, 1)), expected)


def test_fewer_bits_are_worse() -> None:
    """The lowest and the highest bit rate of a name are taken."""
    wave = voice(RATE)
    for name in ("mp3", "aac", "opus"):
        kind = KINDS[name]
        ratios = [snr_db(wave, perturbed(f"{name}@{kbps:g}k", wave)) for kbps in (kind.lowest, 24, kind.highest)]
        assert ratios == sorted(ratios)
        assert ratios[0] + 10 < ratios[-1]


def test_a_codec_that_pyav_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before anything is scored."""
    monkeypatch.setitem(codec.FORMATS, "mp3", codec.FORMATS["mp3"]._replace(encoder="libnothing"))
    made("noise@15db+aac@32k").check()
    with pytest.raises(Blocked, match=r"the audio format mp3 needs a codec that PyAV was built without: libnothing"):
        made("noise@15db+mp3@64k").check()


def test_resampling_loses_the_band_above() -> None:
    """Behind 8 kHz little is left above 4 kHz and nothing above 5 kHz; what is below 3 kHz is as it was."""
    wave = noise(RATE, level=0.2)
    before, after = spectrum(wave), spectrum(perturbed("resample@8k", wave))
    assert db(after[4_000:].mean() / before[4_000:].mean()) < -15
    assert db(after[5_000:].mean() / before[5_000:].mean()) < -40
    assert db(after[:3_000].sum() / before[:3_000].sum()) == pytest.approx(0, abs=0.05)
    for spec in ("resample@16k", "resample@44.1k"):
        np.testing.assert_array_equal(perturbed(spec, wave), wave)


def decay_seconds(response: np.ndarray, rate: int) -> float:
    """RT60 by Schroeder's backward integration, from the line through -5 and -35 dB (ISO 3382-1, T30)."""
    energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
    level = 10 * np.log10(energy[energy > 0] / energy[0])
    used = np.flatnonzero((level <= -5) & (level >= -35))
    slope = np.polyfit(used / rate, level[used], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("rate", [8_000, 48_000])
@pytest.mark.parametrize(("spec", "seconds"), [("reverb", 0.5), ("reverb@0.2s", 0.2), ("reverb@1.5s", 1.5)])
def test_a_room_rings_as_long_as_stated(spec: str, seconds: float, rate: int) -> None:
    """The response to a click: RT60, half of the energy in the direct sound, and another room for another trial."""
    click = np.zeros(int(2 * rate), np.float32)
    click[0] = 0.5
    rooms = [perturbed(spec, click, rate, trial) for trial in "abcd"]
    times = [decay_seconds(room[1:], rate) for room in rooms]
    assert np.mean(times) == pytest.approx(seconds, rel=0.05)
    for room in rooms:
        assert room[0] > 0
        assert db(room[0] ** 2 / np.sum(room[1:].astype(np.float64) ** 2)) == pytest.approx(0, abs=0.001)
    assert len({room[1] for room in rooms}) == 4


def test_a_room_keeps_length_level_and_place() -> None:
    """The RMS of the trial, its samples, and the direct sound where it was."""
    wave = voice(RATE)
    room = perturbed("reverb", wave)
    assert room.shape == wave.shape
    assert np.sqrt(np.mean(room**2)) == pytest.approx(np.sqrt(np.mean(wave**2)), rel=1e-5)
    late = [np.dot(room[shift:], wave[: len(wave) - shift]) for shift in range(8)]
    assert int(np.argmax(late)) == 0


silences = st.integers(0, 3_000)


@settings(max_examples=40, deadline=None)
@given(before=silences, after=silences, sound=st.integers(2, 4_000), offset=st.floats(-0.3, 0.3), level=st.floats(0, 1))
def test_trimmed_trials_have_no_silence(before: int, after: int, sound: int, offset: float, level: float) -> None:
    """For the probe, exactly; what is left is a piece of the trial with its loudest frame, and never nothing."""
    generator = np.random.default_rng(before)
    quiet = 0.003 * level * generator.standard_normal(before + sound + after)
    quiet[before : before + sound] += 0.2 * generator.standard_normal(sound)
    wave = (quiet + offset).astype(np.float32)
    trimmed = perturbed("trim", wave)
    probe, length = SilenceProbe(), torch.tensor([len(trimmed)])
    assert probe(torch.from_numpy(trimmed)[None], length).item() == 0
    assert 0 < len(trimmed) <= len(wave)
    first = next(start for start in range(0, len(wave), 160) if np.array_equal(wave[start:][: len(trimmed)], trimmed))
    loudest = int(np.argmax(np.abs(wave - np.float32(offset))))
    assert first <= loudest < first + len(trimmed)


def test_trimming_at_another_rate() -> None:
    """In frames of 10 ms of the file's own samples; a trial without sound is left as it is."""
    rate = 48_000
    tone = np.sin(np.arange(rate) * 0.05).astype(np.float32)
    wave = np.concatenate([np.zeros(480 * 30 + 100, np.float32), tone, np.zeros(480 * 20, np.float32)])
    np.testing.assert_array_equal(perturbed("trim", wave, rate), wave[480 * 30 : 480 * 131])
    constant = np.full(5_000, 0.25, np.float32)
    np.testing.assert_array_equal(perturbed("trim", constant), constant)


# --- end to end -------------------------------------------------------------------------------------------------------


def scores(scorer: Scorer, trials: pd.DataFrame, spec: str = "", size: int = 6, workers: int = 0) -> pd.Series:
    batches = plan_batches(trials, scorer.recipe, size)
    perturbation = made(spec) if spec else None

    def blocks() -> Iterator[pd.DataFrame]:
        for item in passed([scorer], trials, batches, perturbation=perturbation, workers=workers):
            assert isinstance(item, Scored)
            yield item.block

    return pd.concat(list(blocks())).set_index("trial")["score"]


@pytest.fixture(scope="module")
def aasist(shared: Path) -> Scorer:
    card = registry.detectors()["aasist-l"]
    weights = shared / "golden" / "weights" / "AASIST-L.pth"
    second = card.audio.model_copy(update={"samples": RATE})  # of four: what is shown here needs no more
    return Scorer(card.name, card.model, card.arguments, second, weights)


def test_a_real_detector_on_perturbed_speech(shared: Path, aasist: Scorer) -> None:
    """AASIST-L on a second of six real files: MP3 and noise move its scores; order, batches and processes do not."""
    files = sorted((shared / "corpora" / "itw").rglob("*.wav"))[:6]
    trials = pd.DataFrame({"trial": [file.stem for file in files], "path": [str(file) for file in files]})
    clean = scores(aasist, trials)
    found: Mapping[str, pd.Series] = {spec: scores(aasist, trials, spec) for spec in ("mp3@16k", "noise@15db")}
    for changed in found.values():
        assert (np.abs(changed - clean) > 0.01).sum() >= 5
    turned = trials[::-1].reset_index(drop=True)
    again = scores(aasist, turned, "noise@15db", size=4, workers=1)
    np.testing.assert_allclose(again[clean.index], found["noise@15db"], atol=1e-5)
    again = scores(aasist, turned[:3], "mp3@16k", size=2)
    np.testing.assert_allclose(again, found["mp3@16k"][again.index], atol=1e-5)
