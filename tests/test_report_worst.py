"""Which trials are the worst, against a sort of all of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.report.worst import worst
from bench.scored import Scored
from bench.store import Cell
from bench.trials import SPOOF
from tests.stores import NAN, trial_list

CELL = Cell("set", "det", "0" * 64, "complete", Path("nowhere"))


def scored(scores: dict[str, float], seconds: float = 1.0, **columns: list[str]) -> Scored:
    """Trials whose class is the first letter of their id."""
    trials = trial_list(list(scores), **columns)
    table = pd.DataFrame({"trial": trials["trial"], "score": list(scores.values()), "seconds": seconds, "note": ""})
    return Scored(CELL, table, trials, 0)


def test_the_highest_spoofs_and_the_lowest_bona_fide() -> None:
    """A trial on the threshold is rejected; of each kind the furthest come first, with how many there are in all."""
    trials = scored({"b1": 3.0, "b2": 0.5, "b3": -4.0, "b4": -1.0, "s1": 0.5, "s2": 9.0, "s3": 2.0, "s4": -5.0})
    found = worst(trials, 0.5, count=2)
    assert [(one.trial, one.score, one.distance) for one in found.false_accepts] == [("s2", 9.0, 8.5), ("s3", 2.0, 1.5)]
    assert [(one.trial, one.distance) for one in found.false_rejects] == [("b3", 4.5), ("b4", 1.5)]
    assert (found.n_false_accepts, found.n_false_rejects) == (2, 3)


def test_what_is_known_of_a_trial_is_told() -> None:
    """Attack and speaker first, then the corpus's own columns; what is empty is left out, and a duration of NaN."""
    columns = {"codec": ["", "mp3"], "speaker": ["ann", "bob"], "attack": ["", "A01"]}
    trials = scored({"b": -1.0, "s": 1.0}, seconds=2.5, **columns)
    found = worst(trials, 0.0)
    assert list(found.false_accepts[0].attributes.items()) == [("attack", "A01"), ("speaker", "bob"), ("codec", "mp3")]
    assert found.false_accepts[0].seconds == 2.5
    unknown = worst(scored({"b": -1.0, "s": 1.0}, seconds=NAN), 0.0).false_rejects[0]
    assert (unknown.attributes, unknown.seconds) == ({}, None)
    older = scored({"b": -1.0, "s": 1.0})
    for table in (older.scores.drop(columns="seconds"), older.scores.assign(seconds="a while")):
        assert worst(dataclasses.replace(older, scores=table), 0.0).false_rejects[0].seconds is None


def test_without_a_mistake_there_is_none() -> None:
    """Separated classes have no errors between them."""
    found = worst(scored({"b": 1.0, "s": -1.0}), 0.0)
    assert (found.false_accepts, found.false_rejects, found.n_false_accepts, found.n_false_rejects) == ((), (), 0, 0)


@settings(max_examples=30)
@given(
    scores=st.dictionaries(st.from_regex(r"[bs][0-9]{1,3}", fullmatch=True), st.integers(-3, 3), min_size=1),
    threshold=st.integers(-3, 3),
    count=st.integers(1, 5),
)
def test_as_a_sort_of_all_trials(scores: dict[str, int], threshold: int, count: int) -> None:
    """Whatever ties: by score, then by trial id."""
    trials = scored({trial: float(score) for trial, score in scores.items()})
    spoofs = set(trials.trials.loc[trials.trials["label"] == SPOOF, "trial"])
    accepts = sorted((-score, trial) for trial, score in scores.items() if trial in spoofs and score > threshold)
    rejects = sorted((score, trial) for trial, score in scores.items() if trial not in spoofs and score <= threshold)
    found = worst(trials, threshold, count)
    assert [one.trial for one in found.false_accepts] == [trial for _, trial in accepts[:count]]
    assert [one.trial for one in found.false_rejects] == [trial for _, trial in rejects[:count]]
    assert (found.n_false_accepts, found.n_false_rejects) == (len(accepts), len(rejects))


@pytest.mark.parametrize("count", [1, 10])
def test_constant_scores_are_all_mistakes_of_one_kind(count: int) -> None:
    """Above the threshold every spoof is accepted and no bona fide trial is rejected."""
    found = worst(scored({"b1": 1.0, "s2": 1.0, "s1": 1.0}), 0.0, count)
    assert [one.trial for one in found.false_accepts] == ["s1", "s2"][:count]
    assert found.false_rejects == ()
