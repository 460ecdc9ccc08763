"""The page of a dataset: what it is, and a section for each of its trial lists (`bench.report.trial_list`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.audits import Kept
from bench.families import corpus_of, shipped_card, whole
from bench.report import badges, facts, places
from bench.report.badges import Badge
from bench.report.measured import Line, Measured, title
from bench.report.pages import render
from bench.report.site import Site
from bench.report.tables import Files, Table
from bench.report.trial_list import TrialList, lists_of
from bench.results import F1_HEADLINE, Result


@dataclass(frozen=True)
class Identity:
    """What a dataset is, as its manifests and the card of its name tell it.

    counts: of the published list, {} where nobody tells. clean: the dataset that it is a perturbed version of, or ''.
    """

    name: str
    title: str
    summary: str
    notes: Sequence[str]
    licence: str
    paper: str
    obtain: str
    counts: Mapping[str, int]
    clean: str
    perturbation: str


@dataclass(frozen=True)
class Unmeasured:
    """A cell without numbers, why, and what to do about it."""

    result: Result
    badges: Sequence[Badge]

    @property
    def title(self) -> str:
        return title(self.result)

    @property
    def reason(self) -> str:
        return facts.public(self.result.cell.reason or self.result.caveat)

    @property
    def remedy(self) -> str:
        return facts.public(self.result.cell.remedy)


def build(
    dataset: str, found: Sequence[Measured], lines: Sequence[Line], audits: Mapping[str, Kept], site: Site
) -> Files:
    """The page and its tables.

    Args:
        found: current cells, at least one of the dataset; those of its perturbed versions are shown too, others passed
            over.
        lines: of the whole site: ranks, and which other lists of the corpus have a page.
        audits: by digest, what `bench.store.Store.audit` has of the dataset's trial lists.
        site: nothing of it is needed here.
    """
    own = [one for one in found if one.dataset == dataset]
    page = places.dataset(dataset)
    lists = [
        TrialList(members, lines, audits.get(members[0].result.digest), first=number == 0)
        for number, members in enumerate(lists_of(own))
    ]
    identity = _identity(dataset, own)
    perturbed = _perturbed(dataset, found)
    unmeasured = [Unmeasured(one.result, badges.of_detector(one.result)) for one in own if one.result.metrics is None]
    text = render(
        "dataset.html",
        page,
        identity=identity,
        lists=lists,
        siblings=_siblings(dataset, own, lines),
        unmeasured=unmeasured,
        perturbed=perturbed,
        f1_headline=F1_HEADLINE,
        whole=whole(dataset),
    )
    folder = page.rpartition("/")[0]
    files = {page: text}
    for table in [*(table for one in lists for table in one.tables), *filter(None, [perturbed])]:
        files |= table.files(folder)
    return files


def _identity(dataset: str, own: Sequence[Measured]) -> Identity:
    manifests = (one.result.cell.manifest.get("dataset") for one in own)
    told: Mapping[str, Any] = next(filter(None, manifests), {})
    card = shipped_card(dataset)
    plain = card if card is not None and card.name == dataset else None  # of this very list, not what it was made of
    published = plain.counts.model_dump(exclude_none=True) if plain and plain.counts else {}
    return Identity(
        name=dataset,
        title=str(told.get("title") or (plain.title if plain else dataset)),
        summary=str(told.get("summary") or (plain.summary if plain else "")),
        notes=told.get("notes") or (plain.notes if plain else ()),
        licence=str(told.get("licence") or (card.licence if card else "")),
        paper=card.paper if card else "",
        obtain=card.obtain if card else "",
        counts=told.get("counts", published) or {},
        clean=str(told.get("clean") or ""),
        perturbation=str(told.get("perturbation") or ""),
    )


def _siblings(dataset: str, own: Sequence[Measured], lines: Sequence[Line]) -> list[str]:
    """Other lists of the same corpus that have a page, samples among them; perturbed versions stand elsewhere."""
    told = next((facts for one in own if (facts := one.result.cell.manifest.get("dataset"))), {"name": dataset})
    corpus = corpus_of(told)
    names = {one.dataset for one in lines} - {dataset}
    return sorted(name for name in names if "+" not in name and corpus_of({"name": name}) == corpus)


def _perturbed(dataset: str, found: Sequence[Measured]) -> Table | None:
    """What the perturbed versions of the dataset cost each detector, by version and detector."""
    rows = sorted(_costs(dataset, found), key=lambda row: (row["dataset"], row["eer"], row["detector"]))
    columns = {
        "dataset": "the perturbed version",
        "perturbation": "what is done to the samples of every trial",
        "detector": "its name",
        "eer": "equal error rate under the perturbation, a fraction",
        "difference": "to the clean audio of the same trials, a fraction, above 0 = worse",
        "low": "lower end of its 95 % interval",
        "high": "upper end of its 95 % interval",
        "p_value": "two-sided",
        "remark": "why there is no difference, or what must be said of it",
    }
    return Table("perturbed", columns, rows) if rows else None


def _costs(dataset: str, found: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    for one in found:
        result, told = one.result, one.result.cell.manifest.get("dataset", {})
        if told.get("clean") != dataset or result.degradation is None:
            continue
        difference = result.degradation.difference
        yield {
            "dataset": one.dataset,
            "perturbation": str(told.get("perturbation", "")),
            "detector": one.detector,
            "eer": result.eer,
            "difference": difference and difference.value,
            "low": difference and difference.interval.low,
            "high": difference and difference.interval.high,
            "p_value": difference and difference.p_value,
            "remark": result.degradation.reason,
        }
