"""Error rates of replicates, against the same trials written out as often as they were drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import costs, metrics
from bench.det import curve_between, curve_of
from bench.errors import DataError
from bench.replicates import MEASURES, CellWeights, Crossings, Curves, replicate
from bench.resampling import Resampling

REPLICATES = 40


def table(generator: np.random.Generator, size: int, named: bool) -> pd.DataFrame:
    """A list of both classes, in random order; speakers and attacks are named or not."""
    spoof = generator.permutation(np.arange(size) % 3 != 0)
    speakers = [f"S{number}" for number in generator.permutation(np.arange(size) % 6)]
    attacks = [f"A{number}" if fake else "" for number, fake in zip(np.arange(size) % 5, spoof, strict=True)]
    columns = {"speaker": speakers, "attack": attacks} if named else {"speaker": "", "attack": ""}
    return pd.DataFrame({"label": np.where(spoof, "spoof", "bonafide"), **columns})


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(12, 60), decimals=st.integers(0, 3), named=st.booleans())
def test_every_measure_is_that_of_the_trials_repeated(seed: int, size: int, decimals: int, named: bool) -> None:
    """EER, F1, AUC and minDCF equal those of `bench.metrics` on the repeated trials, to the last bit but for AUC."""
    generator = np.random.default_rng(seed)
    trials = table(generator, size, named)
    draws = Resampling(trials, REPLICATES, seed % 1000)
    scores = np.round(generator.normal(size=size) + draws.labels, decimals)  # few decimals: ties within and across
    measures = {**MEASURES, "any": lambda curves: curves.each(lambda curve: curve.equal_error_rate.far)}
    found = replicate(draws, scores, measures)
    weights = np.zeros((REPLICATES, size), dtype=np.int64)
    weights[:, draws.labels == 1] = draws.weights(draws.bonafide, 0)  # so few fit into one batch
    weights[:, draws.labels == 0] = draws.weights(draws.spoof, 0)
    for row, times in enumerate(weights):
        written = metrics.evaluate(np.repeat(scores, times), np.repeat(draws.labels, times))
        for name in ("eer", "f1_bonafide", "f1_spoof"):
            assert found[name][row] == written[name], name
        assert found["auc"][row] == pytest.approx(written["auc"], abs=1e-12)
        curve = curve_of(scores, draws.labels, times)
        assert found["min_dcf"][row] == costs.min_dcf(curve).value
        assert found["any"][row] == written["far"]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    cells=st.tuples(st.integers(1, 30), st.integers(1, 30)) | st.none(),
    decimals=st.integers(0, 3),
    apart=st.sampled_from([-100.0, -1.0, 0.0, 0.5, 2.0, 100.0]),
    scale=st.sampled_from([1, (1 << 24) + 1]),
)
def test_crossings_are_found_with_few_sums(
    seed: int, sizes: tuple[int, int], cells: tuple[int, int] | None, decimals: int, apart: float, scale: int
) -> None:
    """To the last bit the EERs of all running sums: ties, no weight at all, perfect, useless and inverted scores."""
    generator = np.random.default_rng(seed)
    scores, places, running = [], [], []
    weights: list[CellWeights] = []
    for size, count, shift in zip(sizes, cells or sizes, (apart, 0.0), strict=True):
        scores.append(np.sort(np.round(generator.normal(shift, size=size), decimals)))
        drawn = generator.permutation(size) if cells is None else generator.integers(count, size=size)
        places.append(np.unique(drawn, return_inverse=True)[1])
        counts = generator.integers(4, size=(places[-1].max() + 1, REPLICATES)) * generator.integers(1, 9)
        counts[generator.integers(len(counts))] += 1  # no replicate lacks a class
        weights.append((counts * scale).astype(np.float32 if scale == 1 else np.float64))
        sums = np.cumsum((counts * scale)[places[-1]], axis=0).T
        running.append(np.concatenate((np.zeros((REPLICATES, 1), np.int64), sums), axis=1))
    curve = curve_between(scores[0], scores[1])
    whole = Curves(running[0], running[1], (curve.thresholds, curve.missed, curve.n_spoof - curve.fooled))
    assert (Crossings(curve, places[0], places[1]).eer(weights[0], weights[1]) == whole.eer()).all()


def test_scores_that_are_no_numbers_are_refused() -> None:
    """NaN is an error, with its place."""
    draws = Resampling(table(np.random.default_rng(0), 12, named=False), 2)
    with pytest.raises(DataError, match=r"1 of 12 scores are not finite, the first at index 3 \(nan\)"):
        replicate(draws, [0.0, 1.0, 2.0, np.nan, *range(8)], MEASURES)
