"""bench.trials: ids, labels, the promises of a validated table, the digest."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench import trials
from bench.errors import DataError
from bench.trials import (
    AUDIO_SUFFIXES,
    COLUMNS,
    LABELS,
    RowFinder,
    Span,
    digest,
    first_trials,
    hashes,
    is_bonafide,
    parse_labels,
    spans,
    trial_id,
    trial_ids,
    validate,
)

LABEL = st.sampled_from(["bonafide", "spoof"])
NAME = st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(str.strip)
LISTS = st.dictionaries(NAME, LABEL, min_size=1)


def table_of(labels: dict[str, str]) -> pd.DataFrame:
    return validate(pd.DataFrame({"trial": list(labels), "label": list(labels.values())}), "list")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("12.wav", "12"), ("12.WAV", "12"), ("12", "12"), ("a.b.flac", "a.b"), ("a.b", "a.b"), (".wav", ".wav")],
)
def test_only_an_audio_suffix_is_no_part_of_an_id(name: str, expected: str) -> None:
    """`12.wav`, `12.WAV` and `12` are one trial; any other dot belongs to the id."""
    assert trial_id(name) == expected


@given(st.lists(st.text() | st.builds("{}{}".format, st.text(), st.sampled_from(AUDIO_SUFFIXES))))
def test_a_column_of_ids_is_made_as_single_ids_are(names: list[str]) -> None:
    """`trial_ids` is `trial_id` of every row and keeps the index."""
    names += [name.upper() for name in names] + ["a.opuſ", "\n.wav", "b.wav\n"]
    column = pd.Series(names, index=range(5, 5 + len(names)), dtype="str")
    assert trial_ids(column).tolist() == [trial_id(name) for name in names]
    assert trial_ids(column).index.equals(column.index)


@pytest.mark.parametrize("apart", [True, False])
@given(st.lists(NAME, min_size=1, unique=True), st.lists(NAME))
def test_rows_are_found_whatever_their_hashes(apart: bool, listed: list[str], others: list[str]) -> None:
    """Each listed trial at its row, any other at -1, also where many have one hash."""
    wanted = pd.Series([*reversed(listed), *others], dtype="str")
    with pytest.MonkeyPatch.context() as patch:
        if not apart:
            patch.setattr(trials, "hashes", lambda texts: texts.str.len().to_numpy(dtype=np.uint64) % np.uint64(2))
        found = RowFinder(pd.Series(listed, dtype="str")).rows(wanted)
        assert not validate(pd.DataFrame({"trial": listed, "label": "spoof"}), "list").empty
    assert found.tolist() == [listed.index(name) if name in listed else -1 for name in wanted]


@given(LISTS)
def test_pieces_change_neither_digest_nor_hashes(labels: dict[str, str]) -> None:
    """Ids are handled so many at a time to save memory."""
    table = table_of(labels)
    expected = digest(table), hashes(table["trial"]).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "PIECE_ROWS", 2)
        assert (digest(table), hashes(table["trial"]).tolist()) == expected


def test_a_table_that_was_joined_is_in_one_chunk() -> None:
    """Rows of several chunks take many times as long to find, a batch at a time."""
    table = table_of({"a": "spoof", "b": "bonafide"})
    joined = pd.concat([table, table.assign(trial=["c", "d"])])
    whole = validate(joined, "list")
    assert [len(pa.chunked_array(pa.array(whole[name])).chunks) for name in whole] == [1] * len(whole.columns)
    assert whole["trial"].tolist() == ["a", "b", "c", "d"]


@given(st.lists(st.sampled_from([spelling for known in LABELS for spelling in (known, known.upper(), f" {known} ")])))
def test_every_known_spelling_is_parsed(raw: list[str]) -> None:
    """Letter case and outer spaces do not matter."""
    parsed = parse_labels(pd.Series(raw, dtype="str"), "list")
    assert parsed.tolist() == [LABELS[spelling.strip().lower()] for spelling in raw]


@given(st.lists(st.sampled_from(["spoof", "real"]), max_size=20), st.text(max_size=8))
def test_any_other_label_is_refused_with_its_line(before: list[str], label: str) -> None:
    """A label outside the vocabulary never becomes a class."""
    assume(label.strip().lower() not in LABELS)
    with pytest.raises(DataError, match=rf"unknown label.*\n  where: list, line {len(before) + 7}\n  remedy: "):
        raw = pd.Series([*before, label], dtype="str")
        parse_labels(raw, "list", np.arange(len(raw)) + 7)


@pytest.mark.parametrize("label", ["0", "1"])
def test_a_bare_digit_is_refused_because_corpora_disagree(label: str) -> None:
    """0 and 1 mean opposite things in different corpora, and the error says so."""
    with pytest.raises(DataError, match="corpora disagree on what 0 and 1 mean"):
        parse_labels(pd.Series([label]), "list")


@given(LISTS)
def test_a_valid_table_has_all_columns_as_strings_in_order(labels: dict[str, str]) -> None:
    """`validate` adds what is absent as '', keeps the rows' order and changes nothing the second time."""
    extra = pd.DataFrame(
        {"codec": None, "label": list(labels.values()), "trial": list(labels)}, index=range(3, 3 + len(labels))
    )
    table = validate(extra, "list")
    assert tuple(table) == (*COLUMNS, "codec")
    assert table["trial"].tolist() == list(labels)
    assert (table[["path", "speaker", "attack", "codec"]] == "").all(axis=None)
    pd.testing.assert_frame_equal(validate(table, "list"), table)


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([], "no trial in this list"),
        (["a", ""], r"empty trial id\n  where: list, line 2"),
        (["a", "b\tc"], r"trial id 'b\\tc' holds a tab, line break or NUL\n  where: list, line 2"),
        (["a", "b\n"], "line break"),
        (["a", "b", "a"], r"trial 'a' is listed twice, first in line 1\n  where: list, line 3\n  remedy: remove one"),
    ],
)
def test_what_cannot_be_an_id_is_refused(trials: list[str], message: str) -> None:
    """An empty list, empty, unsafe and repeated ids are errors with the line."""
    with pytest.raises(DataError, match=message):
        validate(pd.DataFrame({"trial": trials, "label": "spoof"}), "list")


def test_a_table_without_labels_or_with_unparsed_ones_is_refused() -> None:
    """A reader that forgets the labels is told so."""
    with pytest.raises(DataError, match="no column label"):
        validate(pd.DataFrame({"trial": ["a"]}), "list")
    with pytest.raises(DataError, match="label 'fake' was not parsed"):
        validate(pd.DataFrame({"trial": ["a"], "label": ["fake"]}), "list")


@given(LISTS)
def test_the_digest_is_that_of_the_sorted_lines(labels: dict[str, str]) -> None:
    """Sha256 over the UTF-8 lines `trial<TAB>label<LF>` in byte order, whatever the order of the rows."""
    lines = sorted(f"{trial}\t{label}\n".encode() for trial, label in labels.items())
    table = table_of(labels)
    assert digest(table) == hashlib.sha256(b"".join(lines)).hexdigest()
    assert digest(table.iloc[::-1]) == digest(table)


@given(LISTS)
def test_the_digest_changes_with_any_label(labels: dict[str, str]) -> None:
    """Two lists with equal counts but one label exchanged are different datasets."""
    first = next(iter(labels))
    other = labels | {first: "spoof" if labels[first] == "bonafide" else "bonafide"}
    assert digest(table_of(labels)) != digest(table_of(other))


def test_the_digest_of_a_known_list() -> None:
    """The definition is fixed: stored results carry it."""
    lines = b"LA_E_1\tbonafide\nLA_E_2\tspoof\n"
    table = table_of({"LA_E_2": "spoof", "LA_E_1": "bonafide"})
    assert digest(table) == hashlib.sha256(lines).hexdigest()
    assert re.fullmatch("[0-9a-f]{64}", digest(table))


@given(LISTS)
def test_bona_fide_is_one(labels: dict[str, str]) -> None:
    """Label 1 = bona fide, 0 = spoof, as int8."""
    values = is_bonafide(table_of(labels))
    assert values.dtype == np.int8
    assert values.tolist() == [int(label == "bonafide") for label in labels.values()]


@given(LISTS, st.integers(1, 20))
def test_a_sample_depends_on_the_ids_alone(labels: dict[str, str], limit: int) -> None:
    """The order of the file does not matter, both classes stay, and the rows keep their order."""
    table = table_of(labels)
    sample = first_trials(table, limit)
    turned = first_trials(table.iloc[::-1].reset_index(drop=True), limit)
    assert set(sample["trial"]) == set(turned["trial"])
    assert set(sample["label"]) == set(table["label"])
    assert len(sample) <= max(limit + 1, table["label"].nunique())
    assert sample["trial"].tolist() == [trial for trial in labels if trial in set(sample["trial"])]


SECOND = st.floats(0, 1e6, allow_subnormal=False)


@given(st.lists(st.tuples(st.none() | SECOND, st.none() | SECOND), min_size=1))
def test_pieces_of_files_are_read_as_they_are_written(pieces: list[tuple[float | None, float | None]]) -> None:
    """An empty `start` is the beginning, an empty `stop` the end of the file, both empty the whole file."""
    pieces = [piece for piece in pieces if piece[1] is None or (piece[0] or 0) < piece[1]]
    assume(pieces)
    columns = {"start": [piece[0] for piece in pieces], "stop": [piece[1] for piece in pieces]}
    texts = {name: ["" if value is None else repr(value) for value in values] for name, values in columns.items()}
    ids = [f"t{row}" for row in range(len(pieces))]
    table = validate(pd.DataFrame({"trial": ids, "label": "spoof", **texts}), "list")
    assert spans(table) == [None if (a, b) == (None, None) else Span(a or 0.0, b) for a, b in pieces]
    assert spans(table.drop(columns=["start", "stop"])) == [None] * len(pieces)


def test_one_of_the_two_columns_is_enough() -> None:
    """What is not there is empty."""
    table = pd.DataFrame({"trial": ["a", "b"], "label": "spoof", "stop": ["4", None]})
    assert spans(validate(table, "list")) == [Span(0, 4), None]
    assert spans(validate(table.rename(columns={"stop": "start"}), "list")) == [Span(4, None), None]


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        ("one", "", "'one' is no second of a file"),
        ("", "1:30", "'1:30' is no second of a file"),
        ("-1", "", "'-1' is no second of a file"),
        ("nan", "", "'nan' is no second of a file"),
        ("", "inf", "'inf' is no second of a file"),
        ("4", "4", "a piece that stops at 4 s begins at 4 s"),
        ("", "0", "a piece that stops at 0 s begins at 0 s"),
        ("9.5", "3", "a piece that stops at 3 s begins at 9.5 s"),
    ],
)
def test_what_is_no_piece_of_a_file_is_refused_with_its_line(start: str, stop: str, message: str) -> None:
    """Seconds are numbers from 0 on, and a piece begins before it ends."""
    table = pd.DataFrame({"trial": ["a", "b"], "label": "spoof", "start": ["0", start], "stop": ["1", stop]})
    with pytest.raises(
        DataError, match=rf"^{message}\n  where: list, line 7\n  remedy: give seconds from the beginning"
    ):
        validate(table, "list", [2, 7])
