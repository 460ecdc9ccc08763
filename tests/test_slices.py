"""The EER of each value of an attribute, and its interval: against trials that are repeated as often as drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import scored, slices
from bench.metrics import breakdown, eer
from bench.resampling import Resampling
from bench.scored import Scored
from bench.slices import REPLICATES, Draws, MeasuredSlice, attributes, measured
from bench.store import Store
from bench.trials import BONAFIDE, SPOOF
from bench.uncertainty import Interval
from tests.stores import put, trial_list


def corpus(
    tmp_path: Path, speakers: int = 8, attacks: int = 6, each: int = 60, seed: int = 0, spoof_speakers: bool = True
) -> Scored:
    """A cell over bona fide and spoofed trials of random speakers, attacks and codecs; scores have ties."""
    random = np.random.default_rng(seed)
    names = [f"{letter}{row}" for letter in "bs" for row in range(each * (1 if letter == "b" else 3))]
    spoof = np.array([name.startswith("s") for name in names])
    who = np.array([f"p{n}" for n in random.integers(speakers, size=len(names))], dtype=object)
    trials = trial_list(
        names,
        speaker=list(who if spoof_speakers else np.where(spoof, "", who)),
        attack=list(np.where(spoof, [f"A{n}" for n in random.integers(attacks, size=len(names))], "")),
        codec=[f"c{n}" for n in random.integers(2, size=len(names))],
    )
    store = Store(tmp_path)
    scores = (random.normal(np.where(spoof, 0.0, 1.0)) * 8).round() / 8
    return scored.load(put(store, trials, dict(zip(names, scores, strict=True))), scored.trial_lists(store))


def naive(trials: Scored, part: slices.Part, draws: Draws, batches: list[range]) -> list[float]:
    """The EER of a slice in each replicate, its trials repeated as often as they were drawn."""
    assert part.resampling is not None
    sides = [(part.resampling.bonafide, part.bonafide, 1), (part.resampling.spoof, part.spoof, 0)]
    found = []
    for batch in batches:
        weights = [draws.weights(part.resampling, side, batch)[side.places] for side, _, _ in sides]
        for replicate in range(len(batch)):
            scores, labels = [], []
            for (_, rows, label), counts in zip(sides, weights, strict=True):
                for row, count in zip(rows, counts[:, replicate], strict=True):
                    scores += [trials.values[row]] * int(count)
                    labels += [label] * int(count)
            found.append(eer(scores, labels).eer)
    return found


@pytest.mark.parametrize("attribute", ["attack", "speaker", "codec"])
def test_intervals_are_those_of_trials_repeated_as_drawn(tmp_path: Path, attribute: str) -> None:
    """Running weights, shared between attacks, give the quantiles of a naive loop over repeated trials."""
    trials = corpus(tmp_path, speakers=5, attacks=5, each=120)
    draws = Draws(trials.trials)
    found = measured(trials, attribute, draws)
    for part, told in list(zip(draws.parts(attribute), found, strict=True))[:2]:
        low, high = np.quantile(naive(trials, part, draws, draws.batches(attribute)), [0.025, 0.975])
        assert told.interval is not None
        assert (told.interval.low, told.interval.high) == pytest.approx((low, high))
    expected = breakdown(trials.values, trials.labels, trials.trials[attribute], attribute == "attack")
    assert [(one.value, one.n_bonafide, one.n_spoof, one.eer) for one in found] == expected


def test_a_slice_draws_as_its_own_trials_alone_would(tmp_path: Path) -> None:
    """Speakers of one attack, attacks of one speaker, both of one codec; each as a list of its own is drawn."""
    trials = corpus(tmp_path, each=150)
    draws = Draws(trials.trials)
    told = {name: measured(trials, name, draws)[0].unit for name in ("attack", "speaker", "codec")}
    assert told == {
        "attack": "speaker (8 speakers)",
        "speaker": "single trials (bona fide), attack (spoof) (6 attacks)",
        "codec": "speaker x attack (8 speakers, 6 attacks)",
    }
    part = draws.parts("codec")[0]
    rows = np.concatenate((part.bonafide, part.spoof))
    alone = Resampling(trials.trials.iloc[rows], REPLICATES)
    assert part.resampling is not None
    for side, own in ((part.resampling.bonafide, alone.bonafide), (part.resampling.spoof, alone.spoof)):
        weights = draws.weights(part.resampling, side, range(REPLICATES))[side.places].T
        assert (weights == np.concatenate([alone.weights(own, batch) for batch in alone.batches])).all()


def test_single_trials_are_drawn_with_replacement(tmp_path: Path) -> None:
    """Each replicate holds as many of a class as there are, and two cells on one list the same ones."""
    trials = corpus(tmp_path, attacks=2, spoof_speakers=False)
    draws = Draws(trials.trials)
    part = draws.parts("attack")[0]
    assert part.resampling is not None
    weights = draws.weights(part.resampling, part.resampling.spoof, range(REPLICATES))
    assert weights.shape == (len(part.spoof), REPLICATES)
    assert (weights.sum(axis=0) == len(part.spoof)).all()
    assert weights.var() == pytest.approx(1, abs=0.05)  # of a multinomial draw
    assert measured(trials, "attack", Draws(trials.trials)) == measured(trials, "attack", draws)


def test_what_does_not_fit_into_memory_is_drawn_in_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters are drawn alike however many replicates are weighed at once, and draws of trials are kept to a limit."""
    trials = corpus(tmp_path)
    whole = measured(trials, "codec", Draws(trials.trials))
    monkeypatch.setattr(slices, "ROOM", 5_000)
    monkeypatch.setattr(slices, "KEPT", 0)
    assert len(Draws(trials.trials).batches("codec")) > 5
    assert measured(trials, "codec", Draws(trials.trials)) == whole
    assert measured(trials, "speaker", Draws(trials.trials)) == measured(trials, "speaker", Draws(trials.trials))


def test_weights_are_numbers_that_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sum could be more than float32 can count to, weights are float64: the same intervals."""
    trials = corpus(tmp_path)
    small, large = Draws(trials.trials), Draws(trials.trials)
    found = measured(trials, "codec", small)
    monkeypatch.setattr(slices, "EXACT", 0)
    assert measured(trials, "codec", large) == found
    kinds = []
    for draws in (small, large):
        resampling = draws.parts("codec")[0].resampling
        assert resampling is not None
        kinds.append(draws.weights(resampling, resampling.spoof, range(REPLICATES)).dtype)
    assert kinds == [np.float32, np.float64]


def test_few_trials_have_an_eer_and_no_interval(tmp_path: Path) -> None:
    """Below twenty trials of a class nothing is drawn, and the slice says so; without one there is no EER either."""
    names = [*(f"b{n}" for n in range(19)), *(f"s{n}" for n in range(25)), "sx"]
    trials = trial_list(names, codec=["a"] * 44 + ["z"])
    store = Store(tmp_path)
    cell = put(store, trials, {name: float(row) for row, name in enumerate(reversed(names))})
    found = measured(scored.load(cell, scored.trial_lists(store)), "codec", Draws(trials))
    assert found == [
        MeasuredSlice("a", 19, 25, 0.0, None, "", ("no interval: 19 bona fide trials are too few to draw from",)),
        MeasuredSlice("z", 0, 1, None, None),
    ]


def test_few_errors_and_few_clusters_are_told(tmp_path: Path) -> None:
    """A slice without an error has an interval of no width, which is said, as is what its unit lacks."""
    trials = corpus(tmp_path)
    object.__setattr__(trials, "scores", trials.scores.assign(score=trials.labels.astype(float)))
    told = measured(trials, "attack", Draws(trials.trials))[0]
    assert (told.eer, told.interval) == (0.0, Interval(0.0, 0.0))
    assert told.warnings == (
        "only 8 speakers: the interval holds the truth less often than it says",
        "few errors: the interval may be too narrow",
    )


def test_an_attribute_without_values_has_no_slices(tmp_path: Path) -> None:
    """Trials that are all bona fide by name have no attack to tell of."""
    trials = corpus(tmp_path)
    none = trials.trials[trials.trials["label"] == BONAFIDE].reset_index(drop=True)
    assert Draws(none).parts("attack") == []
    assert Draws(none).batches("attack") == [range(REPLICATES)]


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        *[("attack", 1, True), ("attack", 150, True), ("attack", 151, False)],
        *[("speaker", 1, False), ("speaker", 150, True), ("speaker", 151, False)],
        *[("codec", 1, False), ("codec", 60, True), ("codec", 61, False)],
    ],
)
def test_attributes_are_told_up_to_a_number_of_values(column: str, values: int, told: bool) -> None:
    """One codec or speaker says nothing new; more than 150 attacks or speakers, or 60 of another, are files."""
    table = pd.DataFrame({"trial": [f"s{row}" for row in range(values)], "label": SPOOF, "speaker": "", "attack": ""})
    table[column] = [f"v{row}" for row in range(values)]
    assert (column in attributes(table)) is told
    assert "speaker" not in attributes(table, speakers=False)
