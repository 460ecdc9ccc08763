"""Tables to take away: what a reader gets is what was put in, and no spreadsheet runs it."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.report.tables import FORMULA, Table

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUE = st.one_of(TEXT, st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.none())


def plain(text: str) -> str:
    """What the docstring tells a reader to do."""
    return text.removeprefix("'")


@given(st.lists(st.tuples(TEXT, VALUE), min_size=1))
@example([('=1+1,"\r\n<b>', None), ("'tis", -0.1), ("NA", True)])
def test_a_csv_reader_gets_the_texts_back(rows: list[tuple[str, object]]) -> None:
    """Whatever the text, a strict reader finds it behind at most one apostrophe, and numbers to their last digit."""
    table = Table("t", {"name": "n", "value": "v"}, [{"name": name, "value": value} for name, value in rows])
    header, *found = csv.reader(io.StringIO(table.csv(), newline=""), strict=True)
    assert header == ["name", "value"]
    assert [plain(name) for name, _ in found] == [name for name, _ in rows]
    for (_, told), (_, value) in zip(found, rows, strict=True):
        assert plain(told) == ("" if value is None else str(value))


@given(st.lists(TEXT, min_size=1))
@example(["=cmd|' /C calc'!A0", "-1", "+1", "@x", "\t=1", "\n=1"])
def test_no_text_is_a_formula(names: list[str]) -> None:
    """No field of a text column begins as a formula does."""
    table = Table("t", {"name": "n", "last": "l"}, [{"name": name, "last": 1} for name in names])
    found = [row[0] for row in csv.reader(io.StringIO(table.csv(), newline=""))]
    assert not [field for field in found if field.startswith(tuple(set(FORMULA) - {"'"}))]


def test_a_column_named_like_a_formula_is_text_too() -> None:
    """Columns may be named after detectors and attacks."""
    assert Table("t", {"=A1": "n"}, [{"=A1": 1}]).csv() == "'=A1\r\n1\r\n"


@settings(max_examples=30)
@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_pandas_reads_numbers_and_gaps(values: list[float]) -> None:
    """A column of numbers is one for pandas, to the digits that its parser has; a gap is NaN."""
    rows = [{"name": "=a", "value": value} for value in [*values, None]]
    table = Table("t", {"name": "n", "value": "v"}, rows)
    frame = pd.read_csv(io.StringIO(table.csv()))
    assert frame["value"].tolist()[:-1] == pytest.approx(values, rel=1e-12)
    assert frame["value"].isna().tolist()[-1]


@given(st.lists(st.tuples(TEXT, VALUE)))
def test_json_has_the_same_rows(rows: list[tuple[str, object]]) -> None:
    """JSON needs no guard: texts as they are, null for a gap, and what each column means."""
    table = Table("t", {"name": "who", "value": "what"}, [{"name": name, "value": value} for name, value in rows])
    assert json.loads(table.json()) == {
        "columns": {"name": "who", "value": "what"},
        "rows": [{"name": name, "value": value} for name, value in rows],
    }


def test_both_files_lie_in_the_folder() -> None:
    """At the root, or in the folder of a page; the same name, two suffixes."""
    table = Table("cells", {"a": "b"}, [{"a": "é"}])
    assert table.files("") == {"cells.csv": table.csv().encode(), "cells.json": table.json().encode()}
    assert list(table.files("data")) == ["data/cells.csv", "data/cells.json"]
    assert "é".encode() in table.files("")["cells.csv"]


def test_no_number_is_no_json() -> None:
    """NaN would be a file that no strict reader takes."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        Table("t", {"a": "b"}, [{"a": float("nan")}]).json()
