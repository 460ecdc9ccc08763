"""Fusion: the scores of several detectors as one, by logistic regression on a development set.

    log-odds = offset + sum over the members of slope * score

with both classes weighing the same, as `bench.calibration` fits it. What comes out is stored as cells of a detector of
its own, so that tables, page and gate treat it as a row like any other. It has seen what its members saw, and the
development set; it is never scored on the latter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd

from bench import calibration, environment, scored
from bench.calibration import Calibration
from bench.cards import check_name
from bench.cellmetrics import as_log_odds, form
from bench.cellwriter import CellWriter
from bench.det import Floats
from bench.development import is_imported, same_scorer
from bench.errors import BenchError, Blocked, DataError, UsageError, unknown
from bench.leakage import Leakage, among
from bench.results import selected
from bench.scored import Scored, TrialLists
from bench.store import Cell
from bench.workspace import Workspace

VERSION = 1  # of the method; raise it whenever a fused score changes
WORST_FIRST: Sequence[Leakage] = ("seen", "in-domain", "unknown", "held-out")


@dataclass(frozen=True)
class Fusion:
    """How scores are fused. members: the cells on the development set, by detector in alphabetical order."""

    name: str
    members: Mapping[str, Cell]
    calibration: Calibration

    @property
    def dev(self) -> Mapping[str, Any]:
        """What is known of the development set, as `bench.corpora.Dataset.facts`."""
        facts: Mapping[str, Any] = next(iter(self.members.values())).manifest["dataset"]
        return facts

    @property
    def told(self) -> str:
        """`fused = -1.2 +0.53 aasist +0.61 log-odds(xlsr-sls-v1), log-odds fitted on some-dev (24,844 trials)`.

        The log-odds of a member are those of the log-probabilities that it gives.
        """
        given = {name: form(cell) for name, cell in self.members.items()}
        of = {name: f"log-odds({name})" if form == "log-probability" else name for name, form in given.items()}
        terms = "".join(f" {slope:+.4g} {of[name]}" for name, slope in self.calibration.slopes.items())
        formula = f"{self.name} = {self.calibration.offset:.4g}{terms}"
        return f"{formula}, log-odds fitted on {self.dev['name']} ({self.dev['trials']:,} trials)"

    def as_json(self) -> dict[str, Any]:
        """The development set, and what its trials made of the members: `slope` of each and `offset`."""
        slopes = self.calibration.slopes
        members = [
            {"detector": name, "dev_key": cell.key, "slope": slopes[name]} for name, cell in self.members.items()
        ]
        dev = {name: self.dev[name] for name in ("name", "digest")}
        return {"name": self.name, "dev": dev, "members": members, "offset": self.calibration.offset}

    @property
    def scorer(self) -> str | None:
        """Sha256 (hex) of what determines a fused score but for the dataset; None with an import among the members."""
        if any(is_imported(cell) for cell in self.members.values()):
            return None
        return _sha256({"version": VERSION, "members": [cell.key for cell in self.members.values()]})


@dataclass(frozen=True)
class Fused:
    """What became of one dataset.

    named: it was asked for by name, not by a glob. state: `done` was stored before; `refused` has a reason and no cell.
    """

    dataset: str
    named: bool
    state: Literal["fused", "done", "refused"]
    cell: Cell | None = None
    reason: str = ""
    remedy: str = ""


def fuse(
    workspace: Workspace, detectors: Collection[str], dev: str, datasets: Collection[str], name: str | None = None
) -> tuple[Fusion, list[Fused]]:
    """Fit a fusion of stored detectors on the dataset `dev` and store its scores on other datasets.

    Args:
        detectors, datasets: names, globs, comma lists of these, or `all`, of what is stored; globs choose no fusions,
            and not `dev`.
        name: of the fused detector; None joins those of its members with `+`.

    Raises:
        UsageError: names that nothing is stored under, fewer than two detectors, `dev` to be scored, a name that
            something else has.
        Blocked, DataError: the members have no complete cells of one trial list on `dev`, one of them has several
            seeds, or no regression can be fitted to their scores.
        StoreError: the store is damaged or cannot be written.
    """
    lists = scored.trial_lists(workspace.store)
    current = {(cell.detector, cell.dataset): cell for cell in workspace.store.current()}
    singles = {cell.detector for cell in current.values() if not _is_fusion(cell)}
    stored = {dataset for _, dataset in current}
    members = sorted(selected("detector", detectors, singles))
    wanted = sorted(selected("dataset", datasets, stored))
    if dev not in stored:
        raise unknown("stored dataset", dev, stored)
    if len(members) < 2:
        raise UsageError(f"{members[0]} alone is no fusion", remedy="name two detectors or more")
    named = {part.strip() for given in datasets for part in given.split(",")}
    if dev in named:
        raise UsageError(
            f"a fusion that is fitted on {dev} is not scored on it", remedy="name another --dev, or other datasets"
        )
    name = name or "+".join(members)
    _check_name(workspace, name, [cell for cell in current.values() if cell.detector == name])

    there = _cells(current, members, dev)
    trials = [scored.load(cell, lists) for cell in there.values()]
    fusion = Fusion(name, there, calibration.fit(_columns(trials), trials[0].labels))
    return fusion, [_fused(workspace, fusion, current, lists, one, one in named) for one in wanted if one != dev]


def _is_fusion(cell: Cell) -> bool:
    return "fusion" in cell.manifest


def _check_name(workspace: Workspace, name: str, cells: Sequence[Cell]) -> None:
    """Raises UsageError: the name cannot be one, or something else has it."""
    check_name(name)
    if name in workspace.detectors:
        raise UsageError(f"{name} is a detector of its own", remedy="give the fusion another --name")
    if not all(_is_fusion(cell) for cell in cells):
        raise UsageError(f"under {name} other scores than a fusion's are stored", remedy="give it another --name")


def _cells(current: Mapping[tuple[str, str], Cell], members: Sequence[str], dataset: str) -> dict[str, Cell]:
    """The members' cells on a dataset: complete, of one trial list.

    Raises:
        Blocked: one of them is not there, or not complete. DataError: they cannot be fused.
    """
    found: dict[str, Cell] = {}
    for member in members:
        cell = current.get((member, dataset))
        if cell is None:
            command = f"`bench run --detectors {member} --datasets {dataset}`"
            raise Blocked(f"{member} has no cell on {dataset}", remedy=f"{command}, or import its scores")
        if cell.band:
            seeds = ", ".join(map(str, cell.band))
            raise DataError(
                f"{member} on {dataset} has several seeds ({seeds}): a fusion is of single trainings",
                remedy=f"`bench run --detectors {member} --datasets {dataset}` makes its own seed the one that counts",
            )
        if cell.status != "complete":
            raise Blocked(f"{member} on {dataset} is {cell.status}", remedy=cell.remedy or "run it again")
        found[member] = cell
    digests = {member: cell.manifest["dataset"]["digest"][:12] for member, cell in found.items()}
    if len(set(digests.values())) > 1:
        told = ", ".join(f"{member} {digest}" for member, digest in digests.items())
        raise DataError(
            f"the members were scored on different trial lists called {dataset}: {told}",
            remedy="run them on one list; a corrected list needs a name of its own",
        )
    return found


def _columns(trials: Sequence[Scored]) -> dict[str, Floats]:
    return {one.cell.detector: as_log_odds(one) for one in trials}


def _fused(
    workspace: Workspace,
    fusion: Fusion,
    current: Mapping[tuple[str, str], Cell],
    lists: TrialLists,
    dataset: str,
    named: bool,
) -> Fused:
    """The fused scores of one dataset, stored; or why they are refused: one dataset must not hide the others."""
    try:
        cells = _cells(current, list(fusion.members), dataset)
        for member, cell in cells.items():
            same_scorer(fusion.members[member], cell)
            calibration.same_form(cell, form(fusion.members[member]))
        manifest = _manifest(workspace, fusion, cells)
        known = workspace.store.cell(dataset, fusion.name, manifest["key"])
        if known is not None and known.status == "complete":
            workspace.store.resolve(dataset, fusion.name, known.key)
            return Fused(dataset, named, "done", known)
        trials = [scored.load(cell, lists) for cell in cells.values()]
        scores = fusion.calibration.log_odds(_columns(trials))
        block = trials[0].scores[["trial", "seconds"]].assign(score=scores, note="")
        return Fused(dataset, named, "fused", _store(workspace, manifest, trials[0].trials, block))
    except BenchError as error:
        return Fused(dataset, named, "refused", None, error.reason(), error.remedy or "")


def _store(workspace: Workspace, manifest: Mapping[str, Any], trials: pd.DataFrame, block: pd.DataFrame) -> Cell:
    workspace.store.check_writable()
    writer = CellWriter(workspace.store, manifest, trials)
    writer.add(block)
    cell = writer.finish({"finished": datetime.now(UTC).isoformat(timespec="seconds")})
    workspace.store.resolve(cell.dataset, cell.detector, cell.key)
    return cell


def _manifest(workspace: Workspace, fusion: Fusion, cells: Mapping[str, Cell]) -> dict[str, Any]:
    """Everything that determined the scores of the fusion of these cells, as `bench.passes` writes it of a detector."""
    dataset = next(iter(cells.values())).manifest["dataset"]
    told = fusion.as_json()
    dev, members = told["dev"], [{**one, "key": cells[one["detector"]].key} for one in told["members"]]
    keys = [[one["dev_key"], one["key"]] for one in members]
    seen: list[Leakage] = [cell.manifest.get("leakage", "unknown") for cell in cells.values()]
    seen.append(among([dev["name"]], dataset["name"], workspace.datasets))
    if dev["name"] not in workspace.datasets:  # nobody knows what corpus its trials are of
        seen.append("unknown")
    return {
        "format": 1,
        "key": _sha256({"version": VERSION, "members": keys, "dev": dev["digest"], "digest": dataset["digest"]}),
        "scorer": fusion.scorer,
        "dataset": dataset,
        "detector": _detector(fusion, [cell.manifest["detector"] for cell in cells.values()]),
        "leakage": min(seen, key=WORST_FIRST.index),
        "fusion": {**told, "members": members},
        "allow_missing": False,
        "imported": any(cell.manifest.get("imported") for cell in cells.values()),
        "versions": environment.versions(),
    }


def _detector(fusion: Fusion, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a card would say of the fused detector; licences, terms and what was seen are those of its members."""
    names = list(fusion.members)
    weights = {name: told["weights"] for name, told in zip(names, members, strict=True) if told.get("weights")}
    random_parts = {
        f"{part} of {name}": "random"
        for name, told in weights.items()
        for part, start in (told.get("start") or {}).items()
        if start == "random"
    }
    return {
        "name": fusion.name,
        "title": f"Fusion of {', '.join(names[:-1])} and {names[-1]}",
        "summary": f"Logistic regression on the scores of its members: {fusion.told}.",
        "family": "fusion",
        "licence": "; ".join(_each(members, "licence")),
        "notices": _each(members, "notices"),
        "weights": {
            "licence": "; ".join(_each(list(weights.values()), "licence")),
            "verified": all(told.get("verified", False) for told in weights.values()),
            "start": random_parts,
        }
        if weights
        else None,
        "scores": "log-odds",
        "decision": {"column": "score", "threshold": 0.0},
        "trained_on": list(dict.fromkeys([*_each(members, "trained_on"), fusion.dev["name"]])),
        "selected_on": _each(members, "selected_on"),
        "published": [],
    }


def _each(records: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    """What a text or a list of texts says in any of these records, each once."""
    told: dict[str, None] = {}
    for record in records:
        value = record.get(field) or []
        told |= dict.fromkeys([value] if isinstance(value, str) else value)
    return list(told)


def _sha256(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
