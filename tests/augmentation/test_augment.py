"""A recipe's augmentation carried out: which changes, how often, and from which draws."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.augmentation import Augment, codec, masking, noise
from bench.augmentation.rawboost import rawboost
from bench.errors import Blocked, DataError, UsageError
from bench.recipes import Augmentation, Spectrum
from tests.augmentation import waves
from tests.augmentation.draws import LEAST, assert_even

RATE = 16_000
CHOICES: dict[str, Any] = {
    "noise": {"dataset": "musan", "snr_db": [0, 15]},
    "reverberation": {"dataset": "rirs"},
    "spectrum": {"drop_frequency": {}, "drop_chunk": {"samples": [20, 40]}, "masks": {}},
    "codec": {"formats": ["mp3", "opus", "alaw", "g722"]},
}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, list[str]]:
    """Two noises, one of them shorter than the clips, and two room responses at another rate."""
    noises = [waves.saved(tmp_path / f"noise{index}.wav", waves.noise(1000 + 9000 * index)) for index in range(2)]
    rooms = [waves.saved(tmp_path / f"room{index}.wav", waves.noise(800, index), 8000) for index in range(2)]
    return {"musan": noises, "rirs": rooms}


def augment(paths: dict[str, list[str]], **recipe: Any) -> Augment:
    return Augment(Augmentation(**recipe), RATE, paths)


def spies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The changes that are carried out from now on, in their order; all that they do is to make the clip louder."""
    done: list[str] = []

    def spy(name: str) -> Callable[..., np.ndarray]:
        def change(wave: np.ndarray, *_: object, **__: object) -> np.ndarray:
            done.append(name)
            return 2 * wave

        return change

    changes = {"noise": (noise, "with_noise"), "reverberation": (noise, "in_room")}
    changes |= {"spectrum": (masking, "left_out"), "codec": (codec, "round_trip")}
    for name, (module, function) in changes.items():
        monkeypatch.setattr(module, function, spy(name))
    return done


@pytest.mark.parametrize("count", [1, 2, 4])
def test_so_many_different_choices_change_a_clip(
    paths: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """`count` of them, each after the one before, every choice and every order as likely as any other."""
    done, wave, orders = spies(monkeypatch), waves.noise(10), Counter[tuple[str, ...]]()
    changing = augment(paths, choices=CHOICES, count=count)
    for seed in range(480):
        done.clear()
        np.testing.assert_array_equal(changing.clip(wave, np.random.default_rng(seed)), 2**count * wave)
        assert len(set(done)) == count
        orders[tuple(done)] += 1
    assert len(orders) == {1: 4, 2: 12, 4: 24}[count]
    assert_even(orders.values())


def test_a_clip_is_changed_with_a_probability(paths: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it comes back as it is."""
    spies(monkeypatch)
    wave = waves.noise(10)
    changing = augment(paths, choices=CHOICES, probability=0.3)
    made = [changing.clip(wave, np.random.default_rng(seed)) for seed in range(400)]
    changed = [not np.array_equal(one, wave) for one in made]
    assert stats.binomtest(sum(changed), 400, 0.3).pvalue > LEAST
    never = augment(paths, choices=CHOICES, probability=0)
    np.testing.assert_array_equal(never.clip(wave, np.random.default_rng(0)), wave)


def test_the_codec_is_any_of_the_recipe(paths: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each format at each bit rate, at the rate of the clips."""
    drawn = Counter[tuple[Any, ...]]()

    def spy(wave: np.ndarray, *chosen: object) -> np.ndarray:
        drawn[chosen] += 1
        return wave

    monkeypatch.setattr(codec, "round_trip", spy)
    changing = augment(paths, choices={"codec": {"formats": ["opus", "mulaw"], "kbps": [16, 24, 32]}})
    for seed in range(300):
        changing.clip(waves.noise(10), np.random.default_rng(seed))
    assert set(drawn) == {(RATE, name, kbps) for name in ("opus", "mulaw") for kbps in (16, 24, 32)}
    assert_even(drawn.values())


def test_each_choice_is_its_function(paths: dict[str, list[str]]) -> None:
    """With the numbers of the recipe and the files of the datasets that it names."""
    spectrum = Spectrum.model_validate(CHOICES["spectrum"])
    expected: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
        "noise": lambda wave, draw: noise.with_noise(wave, draw, paths=paths["musan"], snr_db=(0, 15), rate=RATE),
        "reverberation": lambda wave, draw: noise.in_room(wave, draw, paths=paths["rirs"], rate=RATE),
        "spectrum": lambda wave, draw: masking.left_out(wave, draw, recipe=spectrum, rate=RATE),
    }
    wave = waves.noise(5000)
    for name, change in expected.items():
        draw = np.random.default_rng(4)
        draw.random()  # whether
        draw.permutation(1)  # which
        made = augment(paths, choices={name: CHOICES[name]}).clip(wave, np.random.default_rng(4))
        np.testing.assert_array_equal(made, change(wave, draw).astype(np.float32))


def test_an_utterance_goes_through_rawboost(paths: dict[str, list[str]]) -> None:
    """The algorithm of the recipe, and none where it has none; choices are for clips alone."""
    wave = waves.noise(500)
    boosted = augment(paths, rawboost=5, choices=CHOICES).utterance(wave, np.random.default_rng(1))
    np.testing.assert_array_equal(boosted, rawboost(wave, 5, np.random.default_rng(1)))
    np.testing.assert_array_equal(augment(paths, choices=CHOICES).utterance(wave, np.random.default_rng(1)), wave)
    np.testing.assert_array_equal(augment(paths, rawboost=5).clip(wave, np.random.default_rng(1)), wave)


@pytest.mark.parametrize("samples", [1, 2, 100, 8001])
def test_lengths_and_silence_are_kept(paths: dict[str, list[str]], samples: int) -> None:
    """All changes at once leave finite float32 samples, as many as before; silence stays silence."""
    changing, wave = augment(paths, rawboost=4, choices=CHOICES, count=4), waves.noise(samples)
    for seed in range(3):
        for change in (changing.utterance, changing.clip):
            made = change(wave, np.random.default_rng(seed))
            assert made.dtype == np.float32
            assert made.shape == (samples,)
            assert np.isfinite(made).all()
            silence = np.zeros(samples, np.float32)
            np.testing.assert_array_equal(change(silence, np.random.default_rng(seed)), silence)
    np.testing.assert_array_equal(wave, waves.noise(samples))


@pytest.mark.parametrize("recipe", [{}, {"choices": CHOICES, "probability": 0}, {"choices": {"spectrum": {}}}])
def test_what_comes_back_is_the_callers_own(paths: dict[str, list[str]], recipe: dict[str, Any]) -> None:
    """What is left alone is a copy: to write to it changes nothing else."""
    wave, changing = waves.noise(10), augment(paths, **recipe)
    for change in (changing.utterance, changing.clip):
        made = change(wave, np.random.default_rng(0))
        np.testing.assert_array_equal(made, wave)
        made[:] = 0
        np.testing.assert_array_equal(wave, waves.noise(10))


def test_it_works_the_same_in_another_process(paths: dict[str, list[str]]) -> None:
    """A pickled copy with an equal generator makes equal samples, also after other clips."""
    changing, wave = augment(paths, rawboost=4, choices=CHOICES, count=4), waves.noise(3000)
    copy = pickle.loads(pickle.dumps(changing))
    first = changing.clip(changing.utterance(wave, np.random.default_rng(5)), np.random.default_rng(6))
    copy.clip(waves.noise(700, 1), np.random.default_rng(7))
    again = copy.clip(copy.utterance(wave, np.random.default_rng(5)), np.random.default_rng(6))
    np.testing.assert_array_equal(again, first)


def test_the_number_of_threads_changes_nothing(paths: dict[str, list[str]]) -> None:
    """A worker has one thread where the main process has many."""
    changing = augment(paths, choices=CHOICES, count=4)
    made = []
    for threads in (1, 3):
        with waves.torch_threads(threads):
            made.append(changing.clip(waves.noise(64_600), np.random.default_rng(8)))
    np.testing.assert_array_equal(made[1], made[0])


@pytest.mark.parametrize("found", [{}, {"musan": []}])
@pytest.mark.parametrize("choice", ["noise", "reverberation"])
def test_a_dataset_without_files_is_an_error(found: dict[str, list[str]], choice: str) -> None:
    """It names the dataset."""
    with pytest.raises(DataError) as caught:
        augment(found, choices={choice: CHOICES[choice]})
    name = CHOICES[choice]["dataset"]
    remedy = f"fetch {name}, or take it out of the recipe's augmentation"
    assert str(caught.value) == f"{name} has no audio files to mix in\n  remedy: {remedy}"


def test_rawboost_at_another_rate_is_an_error() -> None:
    """Its filters are given in Hz, up to 8000."""
    with pytest.raises(UsageError) as caught:
        Augment(Augmentation(rawboost=3), 8000, {})
    what = "RawBoost is made for 16000 Hz, and this detector takes 8000 Hz"
    assert str(caught.value) == f"{what}\n  remedy: leave `rawboost` out of the recipe"
    assert Augment(Augmentation(), 8000, {}).clip(waves.noise(3), np.random.default_rng(0)).shape == (3,)


def test_a_codec_that_is_not_here_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when it is first drawn."""
    monkeypatch.setitem(codec.FORMATS, "g722", codec.FORMATS["g722"]._replace(decoder="no_such_codec"))
    with pytest.raises(Blocked, match="the audio format g722 needs a codec that PyAV was built without: no_such_codec"):
        augment({}, choices={"codec": {"formats": ["g722"]}})


def test_no_samples_are_an_error(paths: dict[str, list[str]]) -> None:
    """For utterances and for clips."""
    changing = augment(paths, choices=CHOICES)
    for change in (changing.utterance, changing.clip):
        with pytest.raises(DataError) as caught:
            change(np.zeros(0, np.float32), np.random.default_rng(0))
        what = "an utterance without samples cannot be augmented"
        assert str(caught.value) == f"{what}\n  remedy: take it out of the training list"
