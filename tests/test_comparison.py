"""Two cells side by side, the refusals, and ranks with tie groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import comparison, results
from bench.comparison import Comparison
from bench.errors import DataError, UsageError
from bench.results import Result
from bench.scored import trial_lists
from bench.store import Cell, Store
from tests.stores import put, trial_list

IDS = [f"b{number}" for number in range(40)] + [f"s{number}" for number in range(40)]


def scores(seed: int, gap: float, ids: list[str] = IDS) -> dict[str, float]:
    """Normal scores; the classes lie `gap` apart."""
    noise = np.random.default_rng(seed).normal(size=len(ids))
    return {name: float(noise[row]) + gap * name.startswith("b") for row, name in enumerate(ids)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """`good` and its copy, and `bad`, on one list; `good` also on that list with other names."""
    store = Store(tmp_path)
    trials = trial_list(IDS, speaker=[f"S{number % 20}" for number in range(80)])
    put(store, trials, scores(0, 3.0), detector="good")
    put(store, trials, {name: 2 * score for name, score in scores(0, 3.0).items()}, detector="copy")
    put(store, trials, scores(1, 0.5), detector="bad")
    return store


def of(store: Store, detector: str, dataset: str = "set") -> Result:
    return results.collect(store, [dataset], [detector])[0]


def test_the_difference_is_paired_and_says_what_was_drawn(store: Store) -> None:
    """The replicates of both are of the same draws: a detector and its copy differ by nothing, in every one."""
    lists = trial_lists(store)
    good, bad = of(store, "good"), of(store, "bad")
    found = comparison.compare(good, bad, lists)
    assert good.eer is not None
    assert bad.eer is not None
    assert found.eer.value == good.eer - bad.eer
    assert found.verdict == "good has the lower EER: the interval excludes zero"
    assert found.unit == "speaker (20 speakers)"
    assert found.told.startswith("good - bad: -")
    assert found.told.endswith("p < 0.005")
    assert found.as_json()["interval"]["high"] < 0
    same = comparison.compare(good, of(store, "copy"), lists)
    assert (same.eer.value, same.eer.interval.low, same.eer.interval.high, same.eer.p_value) == (0, 0, 0, 1)
    assert same.verdict == "no difference that these trials can show: the interval holds zero"


def test_other_trials_are_refused_with_the_reason(store: Store) -> None:
    """Cells of different digests are never compared, and the refusal counts what differs."""
    ids = [*IDS[:-3], "s100"]
    put(store, trial_list(ids), scores(2, 1.0, ids), detector="late")
    swapped = trial_list(IDS).assign(label=lambda table: table["label"].mask(table["trial"] == "b0", "spoof"))
    put(store, swapped, scores(2, 1.0), detector="relabelled")
    lists = trial_lists(store)
    with pytest.raises(DataError) as refused:
        comparison.compare(of(store, "good"), of(store, "late"), lists)
    told = "77 trials are in both, 3 only in the first (the first 's37'), 1 only in the second (the first 's100')"
    assert f"are of different trial lists: {told}" in str(refused.value)
    assert "remedy: score both on one list; numbers of different lists are never compared" in str(refused.value)
    with pytest.raises(DataError, match="80 trials are in both, 1 in both with another label"):
        comparison.compare(of(store, "good"), of(store, "relabelled"), lists)


def test_a_cell_without_all_of_its_numbers_is_refused(store: Store) -> None:
    """Over part of the trials, or with no number at all, there is nothing to compare."""
    trials = trial_list(IDS, speaker=[f"S{number % 20}" for number in range(80)])
    part = {**scores(0, 3.0), "b3": float("nan")}
    put(store, trials, part, detector="part", allow_missing=True)
    put(store, trials, part, detector="broken")
    lists = trial_lists(store)
    with pytest.raises(DataError, match="part on set cannot be compared: over the scored trials only: 1 of 80"):
        comparison.compare(of(store, "part"), of(store, "good"), lists)
    with pytest.raises(
        DataError, match="broken on set cannot be compared: the cell is incomplete; 1 of 80 files could"
    ):
        comparison.compare(of(store, "good"), of(store, "broken"), lists)


def test_pairs_are_compared_wherever_both_are(store: Store) -> None:
    """Every dataset that both have, and a plain word where they have none in common."""
    put(store, trial_list(IDS), scores(3, 1.0), detector="good", dataset="other")
    put(store, trial_list(IDS[1:]), scores(3, 1.0, IDS[1:]), detector="bad", dataset="other")
    put(store, trial_list(IDS), scores(3, 1.0), detector="lonely", dataset="else")
    lists, found = trial_lists(store), results.collect(store)
    other, same = comparison.pairs(found, "good", "bad", lists)
    assert isinstance(other, DataError)
    assert isinstance(same, Comparison)
    with pytest.raises(UsageError, match="good and lonely have no dataset in common here"):
        comparison.pairs(found, "good", "lonely", lists)


def test_ranks_are_shared_where_the_difference_holds_zero(store: Store) -> None:
    """A detector and its copy lead together, whoever comes first by name; of another list it is another contest."""
    put(store, trial_list(IDS), scores(0, 3.0), detector="without-speakers")
    put(store, trial_list(IDS[1:]), scores(4, 0.0, IDS[1:]), detector="fewer")
    ranks = comparison.ranks(results.collect(store))
    assert ranks == {
        ("set", "copy"): 1,
        ("set", "good"): 1,
        ("set", "without-speakers"): 1,
        ("set", "bad"): 4,
        ("set", "fewer"): 1,
    }


def test_one_seed_of_several_is_not_compared(store: Store) -> None:
    """Where a seed has no number there is no mean: the detector has no rank, and no difference to another one."""
    trials = trial_list(IDS, speaker=[f"S{number % 20}" for number in range(80)])
    made = [put(store, trials, scores(seed, 2.0), detector="seeds", key=str(seed) * 64) for seed in (1, 2)]
    store.resolve_band({1: made[0], 2: Cell("set", "seeds", "", "blocked", reason="no weights")})
    found = of(store, "seeds")
    assert found.eer is not None
    with pytest.raises(DataError, match="seeds on set cannot be compared: no mean of 2 seeds: seed 2 is blocked"):
        comparison.compare(found, of(store, "good"), trial_lists(store))
    assert ("set", "seeds") not in comparison.ranks(results.collect(store))


def test_what_other_weights_made_is_told_apart(store: Store) -> None:
    """Of each detector the results of the weights that most of its cells share; imports go with any."""
    for dataset, scorer in (("a", "old"), ("b", "new"), ("c", "new"), ("d", None)):
        put(store, trial_list(IDS), scores(1, 1.0), detector="det", dataset=dataset, scorer=scorer)
    kept, others = comparison.of_one_scorer(results.collect(store, detectors=["det"]))
    assert [one.cell.dataset for one in kept] == ["b", "c", "d"]
    assert [one.cell.dataset for one in others] == ["a"]
