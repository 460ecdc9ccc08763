"""How training audio is changed: the augmentation of a card's recipe, carried out.

All draws come from the generator that is handed in, so equal generators give equal samples in whatever process. Lengths
are kept and nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from bench.augmentation import codec, masking, noise, rawboost
from bench.errors import DataError, UsageError
from bench.recipes import Augmentation, Codec

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Augment:
    """An augmentation, ready to be sent to worker processes.

    Args:
        rate: Hz, of all waves.
        paths: the audio files of the datasets that the recipe mixes in, by name of the dataset.

    Raises:
        UsageError: RawBoost at another rate than 16 kHz.
        DataError: a dataset without files. Blocked: PyAV was built without a codec of the recipe.
    """

    def __init__(self, recipe: Augmentation, rate: int, paths: Mapping[str, Sequence[str]]) -> None:
        if recipe.rawboost and rate != rawboost.RATE:
            what = f"RawBoost is made for {rawboost.RATE} Hz, and this detector takes {rate} Hz"
            raise UsageError(what, remedy="leave `rawboost` out of the recipe")
        self._recipe = recipe
        self._changes = _changes(recipe, rate, paths)

    def utterance(self, wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A whole utterance behind RawBoost: float32 (T,), T >= 1, to float32 (T,).

        Raises:
            DataError: no samples.
        """
        _check_samples(wave)
        return rawboost.rawboost(wave, self._recipe.rawboost, generator)

    def clip(self, wave: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A clip behind `count` of the choices, in random order: float32 (T,), T >= 1, to float32 (T,).

        With 1 - `probability` it is unchanged, and always where it is silent: silence has no level to set noise by.

        Raises:
            DataError: no samples. AudioError: a noise or a room response that cannot be used.
        """
        _check_samples(wave)
        changed = wave.copy()
        if generator.random() >= self._recipe.probability or not wave.any():
            return changed
        for index in generator.permutation(len(self._changes))[: self._recipe.count]:
            changed = self._changes[index](changed, generator).astype(np.float32)
        return changed


def _changes(recipe: Augmentation, rate: int, paths: Mapping[str, Sequence[str]]) -> list[Change]:
    """The choices that the recipe gives, as functions of a wave and a generator."""

    def files(dataset: str) -> tuple[str, ...]:
        if not paths.get(dataset):
            what = f"{dataset} has no audio files to mix in"
            raise DataError(what, remedy=f"fetch {dataset}, or take it out of the recipe's augmentation")
        return tuple(paths[dataset])

    choices = recipe.choices
    found: list[Change] = []
    if choices.noise is not None:
        mixed_in = files(choices.noise.dataset)
        found.append(partial(noise.with_noise, paths=mixed_in, snr_db=choices.noise.snr_db, rate=rate))
    if choices.reverberation is not None:
        found.append(partial(noise.in_room, paths=files(choices.reverberation.dataset), rate=rate))
    if choices.spectrum is not None:
        found.append(partial(masking.left_out, recipe=choices.spectrum, rate=rate))
    if choices.codec is not None:
        for name in choices.codec.formats:
            codec.check(name)
        found.append(partial(_coded, recipe=choices.codec, rate=rate))
    return found


def _coded(wave: np.ndarray, generator: np.random.Generator, *, recipe: Codec, rate: int) -> np.ndarray:
    """A clip behind one of the recipe's codecs, at one of its bit rates."""
    name = recipe.formats[generator.integers(len(recipe.formats))]
    kbps = recipe.kbps[generator.integers(len(recipe.kbps))]
    return codec.round_trip(wave, rate, name, kbps)


def _check_samples(wave: np.ndarray) -> None:
    if not len(wave):
        raise DataError("an utterance without samples cannot be augmented", remedy="take it out of the training list")
