"""The trials of a stage: how many are drawn of what, and which lists cannot be learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cards import Recipe
from bench.corpora import Dataset, fingerprint
from bench.errors import DataError, UsageError
from bench.recipes import Stage
from bench.training.lists import TrialList, check_classes, training_list, validation_list
from bench.trials import digest
from tests.training import toys


def table(name: str, bonafide: int, attacks: Mapping[str, int]) -> Dataset:
    """A list without audio: so many bona fide trials, and so many of each attack."""
    labels = ["bonafide"] * bonafide + ["spoof"] * sum(attacks.values())
    systems = [""] * bonafide + [attack for attack, count in attacks.items() for _ in range(count)]
    codecs = ["mp3" if number % 3 else "none" for number in range(len(labels))]
    ids = [f"{name}_{number}" for number in range(len(labels))]
    columns = {"trial": ids, "label": labels, "attack": systems, "codec": codecs}
    return toys.dataset(name, pd.DataFrame(columns))


SMALL = table("a", 10, {"A01": 20, "A02": 9})
OTHER = table("b", 3, {"A03": 4})


def drawn(*sources: Mapping[str, Any], seed: int = 1, datasets: tuple[Dataset, ...] = (SMALL, OTHER)) -> TrialList:
    recipe = Recipe(train="a", seed=seed)
    stage = Stage.model_validate(toys.stage(train=sources))
    return training_list(recipe, stage, {found.name: found for found in datasets})


def ids(found: TrialList) -> list[str]:
    names: list[str] = found.trials["trial"].tolist()
    return names


@pytest.mark.parametrize(
    ("bonafide", "spoof", "wanted", "expected"), [(2580, 3800, 10_000, (1017, 1498)), (2548, 3716, 1250, (129, 187))]
)
def test_a_stratified_draw_has_the_counts_of_the_notebook(
    bonafide: int, spoof: int, wanted: int, expected: tuple[int, int]
) -> None:
    """ASVspoof 2019 LA: 10,005 trials of train and 1,251 of dev, the share of each of six attacks rounded up."""
    attacks = {f"A0{number}": spoof for number in range(1, 7)}
    found = drawn(
        {"dataset": "la", "trials": wanted, "stratify": "attack"}, datasets=(table("la", bonafide, attacks),), seed=42
    )
    counts = found.trials["attack"].value_counts()
    assert counts.to_dict() == {"": expected[0], **dict.fromkeys(attacks, expected[1])}
    assert len(found.trials) in (10_005, 1_251)


@given(st.integers(1, 60), st.dictionaries(st.sampled_from("ABC"), st.integers(1, 60), min_size=1), st.integers(1, 200))
@settings(deadline=None, max_examples=40)
def test_each_value_gives_its_share_rounded_up(bonafide: int, attacks: dict[str, int], wanted: int) -> None:
    """In exact arithmetic: ceil(wanted x of the value / all); all of them where as many are wanted as there are."""
    found = drawn({"dataset": "c", "trials": wanted, "stratify": "attack"}, datasets=(table("c", bonafide, attacks),))
    counts = {"": bonafide, **attacks}
    total = sum(counts.values())
    share = {value: -(-wanted * count // total) for value, count in counts.items()} if wanted < total else counts
    assert found.trials["attack"].value_counts().to_dict() == share


@pytest.mark.parametrize("stratify", [None, "attack"])
def test_a_draw_follows_from_the_seed_and_keeps_the_order_of_the_list(stratify: str | None) -> None:
    """Equal seeds draw the same trials, other seeds others; every trial is drawn by some seed, none twice."""
    source = {"dataset": "a", "trials": 12, "stratify": stratify}
    rows = {trial: row for row, trial in enumerate(SMALL.trials["trial"])}
    draws = [ids(drawn(source, seed=seed)) for seed in range(40)]
    assert ids(drawn(source, seed=7)) == draws[7]
    assert len(set(map(tuple, draws))) == 40
    assert set().union(*draws) == set(rows)
    for names in draws:
        assert (names == sorted(set(names), key=rows.__getitem__), len(names) >= 12) == (True, True)


@pytest.mark.parametrize("wanted", [None, 39, 40])
def test_without_a_draw_all_trials_are_taken(wanted: int | None) -> None:
    """None, or as many as there are, or more."""
    assert ids(drawn({"dataset": "a", "trials": wanted})) == SMALL.trials["trial"].tolist()


def test_where_picks_the_trials_of_all_its_columns() -> None:
    """Before the draw."""
    found = drawn({"dataset": "a", "where": {"label": "spoof", "codec": "none"}})
    picked = SMALL.trials[(SMALL.trials["label"] == "spoof") & (SMALL.trials["codec"] == "none")]
    assert ids(found) == picked["trial"].tolist()
    some = drawn({"dataset": "a", "where": {"codec": "none"}, "trials": 5})
    assert (len(some.trials), set(some.trials["codec"])) == (5, {"none"})


def test_several_sources_are_one_list_in_their_order() -> None:
    """Named by both, its digest that of the joined table, with the columns of all of them."""
    found = drawn({"dataset": "b"}, {"dataset": "a", "where": {"attack": "A02"}}, {"dataset": "a", "trials": 2})
    assert found.name == "b + a"
    assert ids(found)[:7] == OTHER.trials["trial"].tolist()
    assert len(found.trials) == 7 + 9 + 2
    assert (found.digest, found.files) == (digest(found.trials), None)
    assert found.trials.index.tolist() == list(range(18))


def test_the_list_of_the_recipe_is_taken_where_the_stage_names_none() -> None:
    """`train` and `dev`; a stage without either has no validation."""
    datasets, stage = {"a": SMALL, "b": OTHER}, Stage.model_validate(toys.stage(monitor="training loss"))
    assert ids(training_list(Recipe(train="b"), stage, datasets)) == OTHER.trials["trial"].tolist()
    watched = validation_list(Recipe(train="a", dev="b"), stage, datasets)
    assert watched is not None
    assert ids(watched) == OTHER.trials["trial"].tolist()
    assert validation_list(Recipe(train="a"), stage, datasets) is None
    own = Stage.model_validate(toys.stage(validation={"dataset": "a", "trials": 3}))
    chosen = validation_list(Recipe(train="a", dev="b"), own, datasets)
    assert chosen is not None
    assert (chosen.name, len(chosen.trials)) == ("a", 3)


def test_files_of_the_users_own_are_part_of_the_identity() -> None:
    """Those that are trained on, and no others."""
    mine = toys.dataset("mine", OTHER.trials, own=True)
    found = drawn({"dataset": "a"}, {"dataset": "mine", "where": {"label": "spoof"}}, datasets=(SMALL, mine))
    assert found.files == fingerprint(OTHER.trials[OTHER.trials["label"] == "spoof"])


@pytest.mark.parametrize(
    ("sources", "error", "message"),
    [
        ([{"dataset": "a", "where": {"colour": "red"}}], UsageError, "no column of a is called 'colour'"),
        ([{"dataset": "a", "trials": 3, "stratify": "atack"}], UsageError, "did you mean attack?"),
        ([{"dataset": "a", "trials": 99, "stratify": "atack"}], UsageError, "did you mean attack?"),
        (
            [{"dataset": "a", "where": {"attack": "A09", "codec": "mp3"}}],
            DataError,
            "no trial of attack A09, codec mp3",
        ),
        ([{"dataset": "a"}, {"dataset": "a", "trials": 1}], DataError, r"trial 'a_\d+' is in two of the lists a"),
    ],
    ids=["column", "stratify", "stratify without a draw", "nothing", "twice"],
)
def test_sources_that_cannot_be_meant_are_errors(
    sources: list[dict[str, Any]], error: type[Exception], message: str
) -> None:
    """With the name that is wrong, and the nearest one."""
    with pytest.raises(error, match=message):
        drawn(*sources)


def trials_of(bonafide: int, spoof: int) -> TrialList:
    return TrialList("calls", pd.DataFrame({"label": ["bonafide"] * bonafide + ["spoof"] * spoof}))


@pytest.mark.parametrize(
    ("bonafide", "spoof", "one_class", "message"),
    [
        (
            1200,
            0,
            False,
            "the 1,200 training trials of calls are all bona fide\n  remedy: add spoof trials, or another list",
        ),
        (0, 3, False, "the 3 training trials of calls are all spoof\n  remedy: add bona fide trials, or another list"),
        (9, 1, True, "1 of the 10 training trials of calls are spoof, and this stage learns from real speech alone"),
    ],
)
def test_a_list_without_the_classes_of_the_stage_is_an_error(
    bonafide: int, spoof: int, one_class: bool, message: str
) -> None:
    """One class where two are needed, and a second one where real speech is."""
    with pytest.raises(DataError) as raised:
        check_classes(trials_of(bonafide, spoof), "training", one_class=one_class)
    assert str(raised.value).startswith(message)


def test_a_list_with_the_classes_of_the_stage_passes() -> None:
    """Both classes, or real speech alone where that is wanted."""
    check_classes(trials_of(1, 1), "training", one_class=False)
    check_classes(trials_of(2, 0), "training", one_class=True)


def test_draws_are_uniform() -> None:
    """Each of 10 trials is among 3 drawn in 0.3 of 400 seeds, within five standard errors."""
    small = table("s", 5, {"A": 5})
    counts = np.zeros(10)
    for seed in range(400):
        names = ids(drawn({"dataset": "s", "trials": 3}, datasets=(small,), seed=seed))
        counts[[int(name.removeprefix("s_")) for name in names]] += 1
    assert np.abs(counts / 400 - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 400)
