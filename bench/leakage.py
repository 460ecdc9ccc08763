"""Whether the weights of a detector may have seen what it is scored on: told by the cards alone.

    held-out    nothing of the corpus was trained on, and no epoch or setting was selected on it
    in-domain   other trials of the same corpus were
    seen        these trials were, all or some of them
    unknown     the detector's card does not say what its weights saw, or nobody knows what corpus the trials are of

A corpus is a dataset with its siblings. As the field counts it, ASVspoof 2021 is another corpus than ASVspoof 2019,
though both have VCTK speakers and the systems A07 to A19: `held-out` on 2021 LA means other channels, not other voices.
What a backbone heard in self-supervised pre-training, unlabelled, does not count.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from bench.cards import DatasetCard, DetectorCard
from bench.families import whole
from bench.registry import Registry

Leakage = Literal["held-out", "in-domain", "seen", "unknown"]


def leakage(detector: DetectorCard, dataset: str, datasets: Registry[DatasetCard]) -> Leakage:
    """How far a score of the detector on the dataset tells what it does on new data, see the head of this module.

    Detectors that learned nothing (probes, chance) are held out everywhere. A dataset without a card, the user's own
    files, is `unknown` unless the detector's card names it.

    Args:
        dataset: by name, also that of a sample (`itw:200`), which is judged as the whole, or of a perturbed dataset
            (`itw+mp3@64k`), which is judged as the clean one.
    """
    recipe = detector.recipe
    watched = {*detector.trained_on, *detector.selected_on, *(recipe.speech if recipe else ())}
    learned = bool(watched or detector.weights or recipe)
    found = among(watched, dataset, datasets)
    if found == "held-out" and learned and (not detector.trained_on or whole(dataset) not in datasets):
        return "unknown"
    return found


def among(watched: Collection[str], dataset: str, datasets: Registry[DatasetCard]) -> Leakage:
    """`leakage` of something that looked at these datasets and at nothing else: `held-out`, `in-domain` or `seen`."""
    name = whole(dataset)
    related = [other for other in watched if _corpus(other, datasets) == _corpus(name, datasets)]
    if any(_share_trials(name, other, datasets) for other in related):
        return "seen"
    return "in-domain" if related else "held-out"


def _corpus(name: str, datasets: Registry[DatasetCard]) -> str:
    """The dataset that a list is a sibling of; a name without a card stands for itself."""
    return (datasets[name].sibling_of if name in datasets else None) or name


def _share_trials(name: str, other: str, datasets: Registry[DatasetCard]) -> bool:
    """Whether two lists of a corpus are one, or one holds the other; the parts of a corpus are disjoint else."""
    if name == other or name not in datasets or other not in datasets:
        return name == other
    return _holds(datasets[name], datasets[other]) or _holds(datasets[other], datasets[name])


def _holds(whole: DatasetCard, part: DatasetCard) -> bool:
    """Whether no argument of a list leaves out what its sibling has: `phase: all`, or no `models` chosen. The length of
    the pieces that files are cut into, `seconds`, leaves nothing out."""
    asked = {key: value for key, value in whole.arguments.items() if key != "seconds"}
    equal = (value in ("all", part.arguments.get(key)) for key, value in asked.items())
    return whole.reader == part.reader and all(equal)
