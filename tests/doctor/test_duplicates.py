"""The same recording under two names."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.doctor.duplicates import Listed, duplicates
from bench.doctor.findings import Finding


def listed(name: str, rows: str) -> Listed:
    """`trial:path:recording` with b or s for its label, separated by blanks: `t1:a:0b`."""
    parsed = [row.split(":") for row in rows.split()]
    words = {"b": "bonafide", "s": "spoof"}
    table = pd.DataFrame(
        {
            "trial": [trial for trial, _, _ in parsed],
            "path": [path for _, path, _ in parsed],
            "label": [words[last[-1]] for _, _, last in parsed],
        }
    )
    return Listed(name, table, np.array([int(last[:-1]) for _, _, last in parsed], dtype=np.int32))


def told(
    contents: list[int], *lists: Listed, sound: list[int] | None = None
) -> list[list[tuple[str, tuple[str, ...]]]]:
    decoded = np.array(sound if sound is not None else [1] * len(contents), dtype=bool)

    def short(finding: Finding) -> tuple[str, tuple[str, ...]]:
        assert finding.count == len(finding.examples)
        return finding.kind, finding.examples

    return [[short(one) for one in own] for own in duplicates(lists, np.array(contents, dtype=np.uint64), decoded)]


def test_two_files_of_one_content() -> None:
    """A recording that two trials of a class are is told once, with all of its names."""
    found = told([7, 8, 7, 7], listed("d", "t0:a:0b t1:b:1b t2:c:2b t3:d:3b"))
    assert found == [[("duplicate", ("t0 = t2 = t3",))]]


def test_both_labels() -> None:
    """Under both labels it is an error of its own kind."""
    lists = (listed("d", "t0:a:0b t1:b:1s"),)
    assert told([7, 7], *lists) == [[("duplicate: other label", ("t0 (bonafide) = t1 (spoof)",))]]
    (finding,) = duplicates(lists, np.array([7, 7], dtype=np.uint64), np.ones(2, dtype=bool))[0]
    assert (finding.severity, finding.count) == ("error", 1)


def test_siblings() -> None:
    """Another file of equal content in a sibling list is told of both lists; a trial that lists share is not."""
    train, test = listed("train", "t0:a:0b t1:b:1s"), listed("test", "e0:c:2b t1:b:1s")
    assert told([7, 8, 7], train, test) == [
        [("duplicate: sibling", ("t0 = e0 of test",))],
        [("duplicate: sibling", ("e0 = t0 of train",))],
    ]
    assert told([7, 8, 9], train, test) == [[], []]


def test_siblings_of_other_labels() -> None:
    """A recording that is bona fide in one list and spoof in another is an error of both."""
    found = told([7, 7], listed("train", "t0:a:0b"), listed("test", "e0:b:1s"))
    assert found == [
        [("duplicate: other label", ("t0 (bonafide) = e0 of test (spoof)",))],
        [("duplicate: other label", ("e0 (spoof) = t0 of train (bonafide)",))],
    ]


def test_one_file_under_two_ids() -> None:
    """A file that is two trials is a duplicate, unless they are pieces of it."""
    assert told([7], listed("d", "t0:a:0b t1:a:0b")) == [[("duplicate", ("t0 = t1",))]]
    assert told([7, 7], listed("d", "t0:a:0b t1:a:1b")) == [[]]


def test_what_is_not_sound_is_not_compared() -> None:
    """Files that failed, and silent ones, are all alike and no duplicates."""
    assert told([0, 0, 7, 7], listed("d", "a:a:0b b:b:1s c:c:2b d:d:3b"), sound=[0, 0, 1, 1]) == [
        [("duplicate", ("c = d",))]
    ]
