"""Audits of what is here: corpora, score files made elsewhere, checkpoints.

Nothing is scored for the store. What was found in a whole dataset is kept there for the report (`keep`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from bench import audits as kept
from bench import environment
from bench.cards import DetectorCard
from bench.doctor import checkpoint, corpus, scorefile
from bench.doctor.corpus import Member
from bench.doctor.findings import Audit, Finding, absent, of_error, summary, totals
from bench.errors import BenchError, Blocked, UsageError
from bench.progress import Display
from bench.store import Store
from bench.workspace import Workspace

__all__ = ["Audit", "Finding", "examine", "examine_detectors", "examine_scores", "keep", "summary", "totals"]


def examine(workspace: Workspace, datasets: Iterable[str], display: Display) -> list[Audit]:
    """Read the chosen datasets and decode every file of them (with `limit`, of a sample).

    A corpus that is not here is an error only where it was asked for by name. Siblings are compared with each other.

    Raises:
        UsageError: names nobody knows, a card that is not valid.
    """
    audits: dict[str, Audit | None] = {}
    families: dict[str, list[str]] = {}
    for name, named in workspace.select_datasets(datasets).items():
        audits[name] = None
        try:
            if workspace.evaluated(name).perturbation is not None:
                what = f"the files of {name} are those of {workspace.dataset(name).clean}"
                raise UsageError(what, remedy="name that one: a perturbation is made while scoring, not on disk")
        except UsageError:
            raise
        except Blocked as error:
            audits[name] = absent("dataset", name, error, named=named)
        except BenchError as error:
            audits[name] = Audit("dataset", name, (of_error("list", error),))
        else:
            families.setdefault(workspace.dataset_card(name).sibling_of or name, []).append(name)
    for names in families.values():
        found = [workspace.evaluated(name) for name in names]
        members = [Member(one, one is workspace.dataset(name)) for one, name in zip(found, names, strict=True)]
        audits |= zip(names, corpus.examine_family(members, display), strict=True)
    return [audit for audit in audits.values() if audit is not None]


def keep(workspace: Workspace, audits: Iterable[Audit]) -> list[Path]:
    """Keep the audits of datasets in the results folder, where there is one, see `bench.audits`; the files written.

    An audit of a sample is of no trial list that has cells, and not kept.

    Raises:
        StoreError: the results folder cannot be written.
    """
    store = Store(workspace.options.results)
    if workspace.options.limit is not None or not store.root.is_dir():
        return []
    examined = datetime.now(UTC).isoformat(timespec="seconds")
    version = environment.versions()["bench"]
    written = []
    for audit in audits:
        if audit.subject == "dataset" and "digest" in audit.facts:
            place = store.audit_file(audit.name, audit.facts["digest"])
            paths = workspace.dataset(audit.name).trials["path"]
            kept.keep(place, audit.as_dict(), paths, bench=version, examined=examined)
            written.append(place)
    return written


def examine_scores(workspace: Workspace, files: Iterable[Path], dataset: str) -> list[Audit]:
    """Compare score files made elsewhere with the trial list of a dataset, whose audio is not needed.

    Raises:
        UsageError: no such file, a dataset nobody knows. Blocked, DataError: as `Workspace.dataset`.
    """
    trials = workspace.dataset(dataset)
    return [scorefile.examine(file, trials) for file in files]


def examine_detectors(workspace: Workspace, detectors: Iterable[str], display: Display) -> list[Audit]:
    """Load the chosen detectors strictly and let them score signals of known values.

    Raises:
        UsageError: names nobody knows, a card that is not valid.
    """
    chosen: list[tuple[DetectorCard, bool]] = [
        (workspace.detectors[name], named) for name, named in workspace.detectors.select(detectors).items()
    ]
    display.begin("checkpoints", len(chosen))
    audits = []
    for card, named in chosen:
        audits.append(checkpoint.examine(workspace, card, named=named))
        display.advance(1)
    display.end()
    return audits
