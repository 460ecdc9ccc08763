"""Rows of one length at a time, against one row at a time."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.models.batching import each_length


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8), padding=st.integers(0, 3))
def test_rows_keep_their_order_and_lose_their_padding(lengths: list[int], padding: int) -> None:
    """The result of row b is that of its real samples alone, at place b, whatever lies behind them."""
    wave = torch.arange(1.0, len(lengths) * (max(lengths) + padding) + 1).view(len(lengths), -1)
    result = each_length(lambda rows: torch.stack([rows.sum(1), rows[:, -1]], dim=1), wave, torch.tensor(lengths))
    expected = [[float(row[:n].sum()), float(row[n - 1])] for row, n in zip(wave, lengths, strict=True)]
    assert result.tolist() == expected


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_rows_of_one_length_are_one_call(lengths: list[int]) -> None:
    """The function is called once for each length, with all rows that have it."""
    calls: list[tuple[int, ...]] = []

    def note(rows: Tensor) -> Tensor:
        calls.append(tuple(rows.shape))
        return rows[:, 0]

    each_length(note, torch.ones(len(lengths), max(lengths)), torch.tensor(lengths))
    assert sorted(calls) == sorted({(lengths.count(length), length) for length in lengths})


def test_the_device_is_asked_for_nothing() -> None:
    """Rows on the device `meta`, which has no number to give, are grouped by lengths that lie on the CPU."""
    found = each_length(lambda rows: rows.sum(1), torch.zeros(3, 9, device="meta"), torch.tensor([9, 4, 9]))
    assert found.is_meta and found.shape == (3,)
