"""Which pages a site has, which of them must be made, and by whom: cells are measured, each makes its page, then those
about several cells are made.

A store that has not changed is not measured at all. Else every cell is measured, for ranks and averages are about all,
and the pages are made that are made of something else now. Those of cells are written where they are made, the others
when all are, the front page after them, and the ledger at the end: whoever interrupts keeps a site of whole pages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.cores import cores
from bench.errors import BenchError, StoreError
from bench.families import corpus_of
from bench.files import read_json
from bench.progress import Display, Silent
from bench.registry import shipped
from bench.report import ledger, places, sources
from bench.report.facts import public
from bench.report.ledger import Ledger, Page
from bench.report.measured import Line, Measured, draw, lines
from bench.report.site import Site
from bench.report.sources import fingerprint
from bench.report.tables import Files
from bench.report.workers import Workers, between, workers
from bench.results import Measuring, Result, ranked
from bench.slices import Draws
from bench.store import Cell, Store

if TYPE_CHECKING:
    from bench.report.audible import Recordings

Pair: TypeAlias = tuple[str, str]  # dataset, detector

ALONE = 6  # cells that this process has measured before others have started
SHARES = 5  # that each process takes of the cells: whole datasets where there are many, a few cells where there is one


@dataclass(frozen=True)
class Written:
    """A site. index: its first page. made, kept: how many pages were made, and were as before."""

    index: Path
    made: int
    kept: int

    @property
    def told(self) -> str:
        """`site/index.html (312 pages: 12 made, 300 as before)`."""
        return f"{self.index} ({self.made + self.kept:,} pages: {self.made:,} made, {self.kept:,} as before)"


def write(
    store: Store,
    out: Path,
    *,
    site: Site | None = None,
    recordings: Recordings | None = None,
    display: Display | None = None,
    processes: int | None = None,
) -> Written:
    """Write the site of all current cells into the folder `out`, and delete what an earlier build has left there.

    Args:
        recordings: where the corpora lie, for the error browser; None publishes no audio.
        processes: how many make it; None is this one for a few cells, else one a core.

    A cell that is damaged is on the pages as failed, with the reason.

    Raises:
        UsageError: `out` is a file, or a folder that holds something else.
        StoreError: `out` cannot be written, or a page cannot be made: its name is told.
    """
    build = _Build(Store(store.root.absolute()), out, site or Site(), recordings)
    return build.written(display or Silent(), processes)


@dataclass(frozen=True)
class _Task:
    """A page to be made. made_of: as of `bench.report.ledger.Page`."""

    path: str
    made_of: str
    make: Callable[[], Files]

    def __call__(self) -> Files:
        between()
        with _named(self.path):
            return self.make()


class _Build:
    def __init__(self, store: Store, out: Path, site: Site, recordings: Recordings | None) -> None:
        self._store, self._out, self._site, self._recordings = store, out, site, recordings
        self._before = ledger.opened(out)
        self._cells = {(cell.dataset, cell.detector): _portable(cell, store.root) for cell in store.current()}
        self._made_of = self._fingerprints()

    def _fingerprints(self) -> Mapping[Pair, str]:
        """Of all that the page of each cell is made of; of a perturbed dataset, that is the clean cell, too."""
        read, base = sources.Cells(self._store), fingerprint(sources.code(), dataclasses.asdict(self._site))
        own = {pair: read.of(cell) for pair, cell in self._cells.items()}
        clean = {pair: own.get((_facts(cell).get("clean", ""), cell.detector)) for pair, cell in self._cells.items()}
        heard = sources.recordings(self._recordings, {dataset for dataset, _ in own})
        return {pair: fingerprint(base, made_of, clean[pair], heard[pair[0]]) for pair, made_of in own.items()}

    def written(self, display: Display, processes: int | None) -> Written:
        kept, root = self._before.intact(self._out), self._store.root
        about = (sources.below(root, "*/audit-*.json"), sources.below(root, "weights/*/*/train.json"))
        made_of = fingerprint(sources.code(), dataclasses.asdict(self._site), list(self._made_of.items()), about)
        if made_of == self._before.made_of and kept.keys() == self._before.pages.keys():
            return self._told(kept, kept)
        with workers(processes or (1 if len(self._cells) <= ALONE else cores())) as busy:
            found, pages = self._measured(busy, kept, display)
            pages |= self._others(busy, found, kept, display)
        ledger.swept(self._out, self._before.files() - Ledger(pages=pages).files())
        Ledger(made_of, pages).write(self._out)
        return self._told(pages, kept)

    def _told(self, pages: Mapping[str, Page], kept: Mapping[str, Page]) -> Written:
        shown = pages.keys() - {places.ASSETS}
        as_before = sum(pages[path] is kept.get(path) for path in shown)
        return Written(self._out / places.FRONT, len(shown) - as_before, as_before)

    # --- cells --------------------------------------------------------------------------------------------------------

    def _measured(
        self, busy: Workers, kept: Mapping[str, Page], display: Display
    ) -> tuple[list[Measured], dict[str, Page]]:
        """All cells, in the order of `bench.results.ranked`, and their pages."""
        found: dict[Pair, Measured] = {}
        pages: dict[str, Page] = {}
        shares = list(self._shares(kept, 1 + len(self._cells) // (SHARES * busy.count)))
        display.begin("cells", len(self._cells))
        for _, share in busy.done(shares):
            for one, page in share:
                path = places.cell(one.dataset, one.detector)
                found[one.dataset, one.detector], pages[path] = one, page or kept[path]
            display.advance(len(share))
        display.end()
        ordered = ranked(one.result for one in found.values())
        return [found[result.cell.dataset, result.cell.detector] for result in ordered], pages

    def _shares(self, kept: Mapping[str, Page], size: int) -> Iterator[_Share]:
        """All cells, up to `size` of one dataset in each."""
        for _, members in groupby(self._cells, key=lambda pair: pair[0]):
            pairs = list(members)
            for start in range(0, len(pairs), size):
                cells = [(self._cells[pair], self._wanted(pair, kept)) for pair in pairs[start : start + size]]
                yield _Share(self._store, self._out, self._site, self._recordings, cells)

    def _wanted(self, pair: Pair, kept: Mapping[str, Page]) -> str:
        """What the page of a cell would be made of now; '' where it is made of just that."""
        made_of = self._made_of[pair]
        return "" if _is_of(kept.get(places.cell(*pair)), made_of) else made_of

    # --- pages about several cells ------------------------------------------------------------------------------------

    def _others(
        self, busy: Workers, found: Sequence[Measured], kept: Mapping[str, Page], display: Display
    ) -> dict[str, Page]:
        tasks = list(self._tasks(found))
        pages = {task.path: kept[task.path] for task in tasks if _is_of(kept.get(task.path), task.made_of)}
        wanted = [task for task in tasks if task.path not in pages]
        display.begin("pages", len(wanted))
        made: dict[str, Files] = {}
        for number, files in busy.done(wanted):
            made[wanted[number].path] = files
            display.advance(1)
        display.end()
        for task in sorted(wanted, key=lambda task: task.path == places.FRONT):
            pages[task.path] = _page(self._out, task.made_of, made[task.path])
        return pages

    def _tasks(self, found: Sequence[Measured]) -> Iterator[_Task]:
        """The ones that take longest first."""
        from bench.report import methods

        told, site = lines(found), self._site
        whole = fingerprint(self._of(found))
        yield _Task(places.FRONT, whole, partial(_front, self._store, found, told, site))
        yield _Task(places.ASSETS, sources.code(), _assets)
        yield from self._datasets(found, told)
        yield from self._detectors(found, told)
        yield _Task(places.METHODS, whole, partial(methods.build, found, site))

    def _datasets(self, found: Sequence[Measured], told: Sequence[Line]) -> Iterator[_Task]:
        """Of each dataset, and of the pairs on each of its lists. They tell of other lists of the corpus, too."""
        from bench.report import compare_page, dataset_page
        from bench.report.trial_list import lists_of

        corpora = {one.dataset: corpus_of({"name": one.dataset} | dict(_facts(one.result.cell))) for one in found}
        for dataset in sorted(corpora):
            kin = {name for name, corpus in corpora.items() if corpus == corpora[dataset]}
            family, theirs = [one for one in found if one.dataset in kin], [one for one in told if one.dataset in kin]
            own = [one for one in family if one.dataset == dataset]
            kept = {digest: self._store.audit(dataset, digest) for digest in sorted({one.result.digest for one in own})}
            audits = {digest: audit for digest, audit in kept.items() if audit is not None}
            read = {digest: audit.model_dump(mode="json") for digest, audit in audits.items()}
            made_of = fingerprint(self._of(family), [dataclasses.asdict(one) for one in theirs], read)
            make = partial(dataset_page.build, dataset, family, theirs, audits, self._site)
            yield _Task(places.dataset(dataset), made_of, make)
            for number, members in enumerate(lists_of(own)):
                if sum(not one.result.lacking for one in members) > 1:
                    path = places.comparison(dataset, members[0].result.digest if number else "")
                    make = partial(compare_page.build, self._store, members, number == 0, self._site)
                    yield _Task(path, fingerprint(self._of(members), number == 0), make)

    def _detectors(self, found: Sequence[Measured], told: Sequence[Line]) -> Iterator[_Task]:
        """Of each detector. They tell of the others on its lists, too."""
        from bench.report import detector_page

        for detector in sorted({one.detector for one in found}):
            own = [one for one in found if one.detector == detector]
            lists = {(one.dataset, one.digest) for one in told if one.detector == detector}
            theirs = [one for one in told if (one.dataset, one.digest) in lists]
            training = self._training(own)
            made_of = fingerprint(self._of(own), [dataclasses.asdict(one) for one in theirs], training)
            make = partial(detector_page.build, detector, own, theirs, training, self._site)
            yield _Task(places.detector(detector), made_of, make)

    def _of(self, found: Sequence[Measured]) -> list[str]:
        return [self._made_of[one.dataset, one.detector] for one in found]

    def _training(self, own: Sequence[Measured]) -> Mapping[str, Any] | None:
        """The record of the training that made a detector's weights, where it is here."""
        for one in own:
            weights = one.result.cell.manifest.get("detector", {}).get("weights") or {}
            if isinstance(key := weights.get("recipe_key"), str):
                try:
                    if record := read_json(self._store.weights_folder(one.detector, key) / "train.json"):
                        return record
                except StoreError:  # damaged: the page says that there is none
                    continue
        return None


@dataclass(frozen=True)
class _Share:
    """Cells of one dataset, for one process: trial lists are read once. Of each, what a page is to be made of, '' for
    none.
    """

    store: Store
    out: Path
    site: Site
    recordings: Recordings | None
    cells: Sequence[tuple[Cell, str]]

    def __call__(self) -> list[tuple[Measured, Page | None]]:
        measuring, draws = Measuring(self.store, breakdowns=True), dict[str, Draws]()
        found = []
        for cell, made_of in self.cells:
            between()
            with _named(f"{cell.detector} on {cell.dataset}", cell.path):
                measured, files = self._one(measuring, draws, cell, wanted=bool(made_of))
            found.append((measured, _page(self.out, made_of, files) if made_of else None))
        return found

    def _one(
        self, measuring: Measuring, draws: dict[str, Draws], cell: Cell, *, wanted: bool
    ) -> tuple[Measured, Files]:
        """A cell and its page, where that is wanted. draws: of whole trial lists, by digest."""
        result = _told(measuring.told(cell), self.store.root)
        trials = None if result.metrics is None else measuring.trials(cell)
        measured = Measured(result, None if trials is None else draw(trials))
        if not wanted:
            return measured, {}
        from bench.report import cell_page

        drawn = None
        if trials is not None:
            drawn = Draws(trials.trials) if trials.unscored else draws.get(result.digest) or Draws(trials.trials)
            if not trials.unscored:
                draws[result.digest] = drawn
        return measured, cell_page.build(measured, trials, drawn, self.recordings, self.site)


def _page(out: Path, made_of: str, files: Files) -> Page:
    return Page(made_of=made_of, files=ledger.stored(out, files))


def _front(store: Store, found: Sequence[Measured], told: Sequence[Line], site: Site) -> Files:
    from bench.averages import averages
    from bench.report import front

    return front.build(found, averages([one.result for one in found], store), told, site)


def _assets() -> Files:
    """What all pages share; `.nojekyll` keeps GitHub Pages from leaving files out."""
    from bench.report import bundle

    static = sorted((shipped("reports") / "static").iterdir())
    return {
        ".nojekyll": b"",
        **{f"{places.ASSETS}/{file.name}": file.read_bytes() for file in static},
        **bundle.files(),
    }


@contextmanager
def _named(page: str, where: Path | None = None) -> Iterator[None]:
    """Whatever goes wrong with a page names it: one manifest of a thousand may hold what nobody thought of."""
    try:
        yield
    except BenchError as error:
        what = f"the page of {page} cannot be made: {error.what}"
        raise StoreError(what, where=error.where or where, remedy=error.remedy) from error
    except Exception as error:  # whatever it is, the page must be named; it is raised on
        what = f"the page of {page} cannot be made: {type(error).__name__}: {error}"
        raise StoreError(what, where=where, remedy="move what it is made of away, and tell the maintainers") from error


def _is_of(page: Page | None, made_of: str) -> bool:
    return page is not None and page.made_of == made_of


def _facts(cell: Cell) -> Mapping[str, Any]:
    """What the manifest of a cell says of its dataset."""
    facts: Mapping[str, Any] = cell.manifest.get("dataset") or {}
    return facts


def _portable(cell: Cell, root: Path) -> Cell:
    """A cell whose reason names no place of this machine: the same store gives the same site wherever it lies."""
    reason, remedy = (public(text.replace(f"{root}/", "")) for text in (cell.reason, cell.remedy))
    band = {seed: _portable(one, root) for seed, one in cell.band.items()}
    return dataclasses.replace(cell, reason=reason, remedy=remedy, band=band)


def _told(result: Result, root: Path) -> Result:
    """A result whose cell is `_portable`, and those of its band."""
    band = result.band
    if band is not None:
        band = dataclasses.replace(band, results={seed: _told(one, root) for seed, one in band.results.items()})
    return dataclasses.replace(result, cell=_portable(result.cell, root), band=band)
