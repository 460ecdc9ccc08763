"""The plan of a pass: a function of list, files and batch size, and what it hands out."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock, call

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import audio
from bench import batches as batches_
from bench.batches import CLIP_SAMPLES, FACT_ROWS, plan_batches
from bench.cards import AudioRecipe
from tests.passing import PAD, mixed, pieces_of, table
from tests.tiny import TILE, WHOLE


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return mixed(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pieces_of(tmp_path_factory.mktemp("pieces"))


durations = st.lists(
    st.one_of(st.just(0.0), st.floats(0.001, 40), st.integers(1, 5).map(float)), min_size=1, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(seconds=durations, size=st.integers(1, 9), rate=st.sampled_from([8_000, 16_000]))
def test_whole_files_are_planned_in_buckets_of_like_length(seconds: list[float], size: int, rate: int) -> None:
    """Every row is in one batch, batches go from short to long, the padded size is within the budget unless a file is
    alone, no batch could take the next file too, and the plan is the same each time."""
    trials = table([f"{row}.wav" for row in range(len(seconds))])
    recipe = AudioRecipe.model_validate({**WHOLE, "rate": rate})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_, "durations", lambda trials: np.array(seconds))
        batches = plan_batches(trials, recipe, size)
        again = plan_batches(trials, recipe, size)
    rows = np.concatenate(batches)
    assert sorted(rows.tolist()) == list(range(len(seconds)))
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]
    samples = np.array(seconds) * rate
    assert rows.tolist() == sorted(rows.tolist(), key=lambda row: (samples[row], row))
    budget = size * CLIP_SAMPLES
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        assert len(batch) == 1 or len(batch) * samples[batch].max() <= budget
        assert len(batch) <= 4 * size
        if following is not None and len(batch) < 4 * size:
            assert (len(batch) + 1) * samples[following[0]] > budget


@given(count=st.integers(1, 200), size=st.integers(1, 70))
def test_fixed_windows_are_planned_in_the_order_of_the_list(count: int, size: int) -> None:
    """Full batches, the last one shorter; the files are not looked at."""
    trials = table([f"absent/{row}.wav" for row in range(count)])
    for recipe in (AudioRecipe.model_validate(TILE), AudioRecipe.model_validate(PAD)):
        batches = plan_batches(trials, recipe, size)
        assert np.concatenate(batches).tolist() == list(range(count))
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert 1 <= len(batches[-1]) <= size


@pytest.mark.parametrize("window", ["facts", "none"])
def test_facts_are_planned_in_large_batches(window: str) -> None:
    """Nothing is decoded, so the batch size does not bound them."""
    trials = pd.DataFrame({"trial": [str(row) for row in range(FACT_ROWS + 1)], "path": ""})
    batches = plan_batches(trials, AudioRecipe.model_validate({"window": window}), 2)
    assert [len(batch) for batch in batches] == [FACT_ROWS, 1]


def test_durations_come_from_the_headers(corpus: pd.DataFrame, tmp_path: Path) -> None:
    """In seconds at any sample rate; a file without a header counts as empty and comes first."""
    (tmp_path / "text.wav").write_text("no audio")
    trials = table([*corpus["path"][::-1], tmp_path / "text.wav", tmp_path / "absent.wav"])
    batches = plan_batches(trials, AudioRecipe.model_validate(WHOLE), 1)
    assert [row for batch in batches for row in batch.tolist()] == [12, 13, *range(11, -1, -1)]


def test_the_durations_of_pieces(pieces: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of files of their own, and each header is read once; a piece that is not in its file counts as empty."""
    cut, files = pieces
    expected = batches_.durations(files)
    header = Mock(wraps=audio.header)
    monkeypatch.setattr(audio, "header", header)
    np.testing.assert_array_equal(batches_.durations(cut), expected)
    assert sorted(header.call_args_list) == [call(path) for path in sorted(set(cut["path"]))]
    outside = cut[:2].assign(start=["5", "0.3"], stop=["", "7"])
    assert batches_.durations(outside).tolist() == [0, 0]
    assert batches_.durations(cut.assign(path="nowhere.wav")).tolist() == [0] * len(cut)
