"""The same recording under two names: inside a dataset, across siblings (train and test), under both labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.doctor.findings import Finding, Severity, counted

KINDS: tuple[tuple[str, Severity, str, str], ...] = (
    (
        "duplicate: other label",
        "error",
        "listed under both labels, so one label of each is wrong",
        "find out which label is right, and correct the list under a new name",
    ),
    (
        "duplicate: sibling",
        "warning",
        "also in a sibling list: what was trained on one is not tested on the other",
        "take the trials out of one of the lists, under a new name",
    ),
    (
        "duplicate",
        "warning",
        "listed several times, to count several times in every rate",
        "keep one trial of each, in a list of a new name",
    ),
)


class Listed(NamedTuple):
    """A dataset's trial table, and the recording that each of its trials is, int (rows,)."""

    name: str
    trials: pd.DataFrame
    recordings: NDArray[np.int32]


def duplicates(listed: Sequence[Listed], contents: NDArray[np.uint64], sound: NDArray[np.bool_]) -> list[list[Finding]]:
    """The findings of each dataset.

    Args:
        listed: datasets over the same recordings.
        contents: hash of each recording (n,). sound: whether it was decoded and is not silent throughout (n,): all
            silences are alike.

    Two pieces of one file are no duplicates, whatever they hold, nor is a trial that two lists share.
    """
    rows = _suspects(listed, contents, sound)
    told: list[dict[str, list[str]]] = [{} for _ in listed]
    for _, group in rows.groupby("content", sort=False):
        for member, kind, example in _kinds(group, [one.name for one in listed]):
            told[member].setdefault(kind, []).append(example)
    return [
        [
            Finding(
                kind,
                severity,
                f"{counted(len(found[kind]), 'recording')} {what}",
                len(found[kind]),
                tuple(found[kind]),
                remedy,
            )
            for kind, severity, what, remedy in KINDS
            if kind in found
        ]
        for found in told
    ]


def _suspects(listed: Sequence[Listed], contents: NDArray[Any], sound: NDArray[np.bool_]) -> pd.DataFrame:
    """Rows of the trials whose content occurs in another trial of the same dataset, or in another recording."""
    order = np.argsort(contents, kind="stable")
    equal = contents[order][1:] == contents[order][:-1]
    repeated = np.zeros(len(contents), dtype=bool)
    repeated[order[1:][equal]] = repeated[order[:-1][equal]] = True
    for one in listed:
        repeated |= np.bincount(one.recordings, minlength=len(contents)) > 1
    repeated &= sound
    tables = []
    for member, one in enumerate(listed):
        at = np.flatnonzero(repeated[one.recordings])
        recordings = one.recordings[at]
        tables.append(
            one.trials.iloc[at][["trial", "path", "label"]].assign(
                member=member, recording=recordings, content=contents[recordings]
            )
        )
    return pd.concat(tables, ignore_index=True)


def _kinds(group: pd.DataFrame, names: Sequence[str]) -> list[tuple[int, str, str]]:
    """What a group of rows of one content is for each dataset in it: dataset, kind, example."""
    if group["path"].nunique() == 1 and group["recording"].nunique() > 1:
        return []
    inside = group.groupby("member")["trial"].nunique().max() > 1
    across = group["member"].nunique() > 1 and group["recording"].nunique() > 1
    if group["label"].nunique() > 1:
        kind = "duplicate: other label"
    elif across:
        kind = "duplicate: sibling"
    elif inside:
        kind = "duplicate"
    else:
        return []
    found = []
    for member in group["member"].unique():
        own = group[group["member"] == member]
        # A list that shares the trial itself has nothing to compare.
        others = group[(group["member"] != member) & ~group["recording"].isin(own["recording"])]
        if len(own) + len(others) < 2:
            continue
        labelled = kind == "duplicate: other label"
        told = [_told(row, "", labelled) for row in own.itertuples()]
        told += [_told(row, f" of {names[row.member]}", labelled) for row in others.itertuples()]
        found.append((int(member), kind, " = ".join(told)))
    return found


def _told(row: Any, of: str, labelled: bool) -> str:
    return f"{row.trial}{of} ({row.label})" if labelled else f"{row.trial}{of}"
