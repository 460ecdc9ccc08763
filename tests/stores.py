"""Stores for tests: trial lists and finished cells that no detector made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.cellwriter import CellWriter
from bench.store import Cell, Store
from bench.trials import BONAFIDE, SPOOF, digest, validate

NAN = float("nan")


def trial_list(ids: Sequence[str], **columns: Sequence[str]) -> pd.DataFrame:
    """Trials whose ids begin with the letter of their class."""
    labels = [BONAFIDE if name.startswith("b") else SPOOF for name in ids]
    return validate(pd.DataFrame({"trial": ids, "label": labels, **columns}), "list")


def put(
    store: Store,
    trials: pd.DataFrame,
    scores: Mapping[str, float],
    *,
    detector: str = "det",
    dataset: str = "set",
    extras: Mapping[str, Sequence[float]] | None = None,
    decision: Mapping[str, Any] | None = None,
    made: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    **manifest: Any,
) -> Cell:
    """A finished cell: NaN is a trial that could not be scored; made, facts: what else is said of detector, dataset."""
    identity = digest(trials)
    store.write_trials(dataset, identity, trials)
    counts = {"trials": len(trials), "bonafide": int((trials["label"] == BONAFIDE).sum())}
    about = {
        "key": f"{detector}{dataset}".encode().hex().ljust(64, "0"),
        "dataset": {"name": dataset, "digest": identity, **counts, "spoof": len(trials) - counts["bonafide"]}
        | dict(facts or {}),
        "detector": {"name": detector, "decision": decision, **(made or {})},
        **manifest,
    }
    writer = CellWriter(store, about, trials)
    columns = {"trial": list(scores), "score": list(scores.values()), **(extras or {})}
    writer.add(pd.DataFrame({**columns, "seconds": 1.0, "note": ""}))
    return writer.finish({})


def numbered(bonafide: int, spoof: int, prefix: str) -> pd.DataFrame:
    """So many trials of each class, bona fide first, their ids beginning with `prefix`."""
    labels = [BONAFIDE] * bonafide + [SPOOF] * spoof
    return validate(pd.DataFrame({"trial": [f"{prefix}{n}" for n in range(len(labels))], "label": labels}), prefix)


def put_classes(
    store: Store,
    detector: str,
    dataset: str,
    bonafide: Sequence[float] | np.ndarray,
    spoof: Sequence[float] | np.ndarray,
    *,
    prefix: str = "",
    scorer: str | None = "same",
    card: Mapping[str, Any] | None = None,
    **manifest: Any,
) -> Cell:
    """The scores of a detector on a dataset of its own trials; NaN is a trial that could not be scored."""
    trials = numbered(len(bonafide), len(spoof), prefix or f"{dataset}-")
    identity = digest(trials)
    store.write_trials(dataset, identity, trials)
    scores = [*bonafide, *spoof]
    facts = {"name": dataset, "digest": identity, "trials": len(trials), "bonafide": len(bonafide), "spoof": len(spoof)}
    texts = {"title": dataset, "summary": "", "notes": [], "licence": "none", "warnings": []}
    about = {
        "key": hashlib.sha256(repr((detector, dataset, scorer, identity, scores)).encode()).hexdigest(),
        "scorer": scorer,
        "imported": scorer is None,
        "dataset": {**facts, **texts},
        "detector": {"name": detector, "licence": "MIT", **(card or {})},
        **manifest,
    }
    writer = CellWriter(store, about, trials)
    writer.add(pd.DataFrame({"trial": trials["trial"], "score": scores, "seconds": 1.5, "note": ""}))
    return writer.finish({})


def gaussian(seed: int, shift: float = 1.5, counts: tuple[int, int] = (60, 140)) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both classes, unit normal, the bona fide shifted."""
    draws = np.random.default_rng(seed)
    return draws.normal(shift, 1, counts[0]), draws.normal(0, 1, counts[1])
