"""Which pages are made, kept and deleted. The pages themselves are stand-ins here, but for the last tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.errors import DataError, StoreError
from bench.report import (
    bundle,
    cell_page,
    compare_page,
    dataset_page,
    detector_page,
    front,
    ledger,
    methods,
    places,
)
from bench.report.audible import Recordings
from bench.report.ledger import FILE
from bench.report.site import Site
from bench.report.tables import Files
from bench.results import Measuring
from bench.store import Cell, Store
from tests.stores import gaussian, put_classes

Pages = list[str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two detectors on one dataset, one of them and a third on another; all held-out."""
    store = Store(tmp_path / "results")
    for seed, (detector, dataset) in enumerate((("a", "one"), ("b", "one"), ("b", "two"), ("c", "two"))):
        put(store, detector, dataset, seed)
    return store


def put(store: Store, detector: str, dataset: str, seed: int, **manifest: Any) -> None:
    """A cell in place of the one that there is."""
    shutil.rmtree(store.pair_folder(dataset, detector), ignore_errors=True)
    put_classes(store, detector, dataset, *gaussian(seed, counts=(20, 30)), leakage="held-out", **manifest)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Pages:
    """The pages that are made, by stand-ins of the page builders: a page tells its arguments, its table lies beside."""
    pages: Pages = []

    def page(path: str, told: object) -> Files:
        pages.append(path)
        return {path: repr(told).encode(), places.beside(path, "t.csv"): b"t"}

    def eers(found: Sequence[Any]) -> list[Any]:
        return [(one.dataset, one.detector, one.result.eer, one.result.cell.reason) for one in found]

    def comparison(store: Store, found: Sequence[Any], first: bool, site: Site) -> Files:
        return page(places.comparison(found[0].dataset, "" if first else found[0].result.digest), eers(found))

    def of_front(found: Sequence[Any], averages: Any, lines: Sequence[Any], site: Site) -> Files:
        return page(places.FRONT, (eers(found), len(averages.scopes), [one.rank for one in lines], site))

    stand_ins: dict[Any, Callable[..., Files]] = {
        cell_page: lambda one, *rest: page(places.cell(one.dataset, one.detector), eers([one])),
        dataset_page: lambda name, found, *rest: page(places.dataset(name), (eers(found), rest)),
        detector_page: lambda name, found, lines, *rest: page(places.detector(name), (eers(found), lines, rest[0])),
        compare_page: comparison,
        front: of_front,
        methods: lambda found, site: page(places.METHODS, eers(found)),
    }
    for module, stand_in in stand_ins.items():
        monkeypatch.setattr(module, "build", stand_in)
    monkeypatch.setattr(bundle, "files", lambda: {"assets/vega.js": b"v"})
    return pages


def tree(folder: Path) -> dict[str, bytes]:
    return {place.relative_to(folder).as_posix(): place.read_bytes() for place in folder.rglob("*") if place.is_file()}


ALL = {
    "index.html",
    "methods.html",
    *(f"datasets/{name}/{page}.html" for name in ("one", "two") for page in ("index", "compare")),
    *(f"detectors/{name}/index.html" for name in "abc"),
    *(f"cells/{pair}/index.html" for pair in ("one/a", "one/b", "two/b", "two/c")),
}


def test_every_page_is_made(store: Store, made: Pages, tmp_path: Path) -> None:
    """One a cell, dataset, comparison and detector, the front page, the methods, and what they share."""
    written = report.write(store, tmp_path / "site")
    assert set(made) == ALL
    assert (written.index, written.made, written.kept) == (tmp_path / "site" / "index.html", len(ALL), 0)
    assert written.told == f"{written.index} (13 pages: 13 made, 0 as before)"
    files = set(tree(tmp_path / "site"))
    assert files > {*ALL, "cells/one/a/t.csv", ".nojekyll", "assets/style.css", "assets/vega.js", FILE}
    assert not (files - ALL - {FILE, ".nojekyll"}) & {path for path in files if path.endswith(".html")}


def test_an_unchanged_store_is_not_measured(
    store: Store, made: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a cell of it, no page is made, no file written; wherever the results lie."""
    report.write(store, tmp_path / "site")
    before = {place: place.stat().st_mtime_ns for place in (tmp_path / "site").rglob("*")}
    made.clear()
    monkeypatch.setattr(Measuring, "told", lambda *_: pytest.fail("it was measured"))
    shutil.copytree(store.root, tmp_path / "copy")
    for root in (store.root, tmp_path / "copy"):
        written = report.write(Store(root), tmp_path / "site")
        assert (written.made, written.kept, made) == (0, len(ALL), [])
    assert {place: place.stat().st_mtime_ns for place in (tmp_path / "site").rglob("*")} == before


def test_one_cell_that_changes(store: Store, made: Pages, tmp_path: Path) -> None:
    """Its page is made again, and all that tell of it or of its list: nothing about other lists."""
    report.write(store, tmp_path / "site")
    made.clear()
    put(store, "a", "one", 9)
    written = report.write(store, tmp_path / "site")
    assert set(made) == {
        "index.html",
        "methods.html",
        "cells/one/a/index.html",
        "datasets/one/index.html",
        "datasets/one/compare.html",
        "detectors/a/index.html",
        "detectors/b/index.html",
    }
    assert (written.made, written.kept) == (7, 6)
    report.write(store, tmp_path / "anew")
    assert tree(tmp_path / "site") == tree(tmp_path / "anew")


def test_the_clean_cell_of_a_perturbed_one(store: Store, made: Pages, tmp_path: Path) -> None:
    """A page that tells a difference to another cell is made again when that one changes."""
    put_classes(store, "a", "one+mp3@64k", *gaussian(5, counts=(20, 30)), prefix="one-")
    cell = store.current_of("one+mp3@64k", "a")
    assert cell is not None
    store.refresh(cell, {"dataset": {**cell.manifest["dataset"], "clean": "one"}})
    report.write(store, tmp_path / "site")
    made.clear()
    put(store, "a", "one", 9)
    report.write(store, tmp_path / "site")
    assert {places.cell("one+mp3@64k", "a"), places.cell("one", "a")} <= set(made)
    assert places.cell("one", "b") not in made


@pytest.mark.parametrize("edit", [lambda place: place.unlink(), lambda place: place.write_bytes(b"?")])
def test_a_page_that_was_touched(store: Store, made: Pages, tmp_path: Path, edit: Callable[[Path], object]) -> None:
    """Is made again, and it alone."""
    report.write(store, tmp_path / "site")
    before = tree(tmp_path / "site")
    made.clear()
    edit(tmp_path / "site" / "cells" / "one" / "b" / "t.csv")
    report.write(store, tmp_path / "site")
    assert (made, tree(tmp_path / "site")) == (["cells/one/b/index.html"], before)


@pytest.mark.parametrize("change", ["options", "ledger", "code"])
def test_what_makes_every_page_anew(
    store: Store, made: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Another option, another version of the code, a damaged ledger."""
    site = tmp_path / "site"
    report.write(store, site)
    made.clear()
    if change == "ledger":
        (site / FILE).write_text("{")
    if change == "code":
        monkeypatch.setattr("bench.report.sources.code", lambda: "other")
    report.write(store, site, site=Site(scores=change == "options"))
    assert set(made) == ALL


def test_what_is_gone_from_the_results_is_gone_from_the_site(store: Store, made: Pages, tmp_path: Path) -> None:
    """The pages of a deleted detector and what lay beside them; nothing that we did not write."""
    site = tmp_path / "site"
    report.write(store, site)
    (site / "CNAME").write_text("example.org")
    (site / "cells" / "two" / "c" / "mine.txt").touch()
    shutil.rmtree(store.pair_folder("two", "c"))
    report.write(store, site)
    gone = {"cells/two/c/index.html", "detectors/c/index.html", "datasets/two/compare.html"}
    assert not any((site / path).exists() for path in gone)
    assert (site / "CNAME").exists()
    assert (site / "cells" / "two" / "c" / "mine.txt").exists()
    assert not (site / "detectors" / "c").exists()


def current(store: Store, dataset: str, detector: str) -> Cell:
    cell = store.current_of(dataset, detector)
    assert cell is not None
    return cell


def folder_of(store: Store, dataset: str, detector: str) -> Path:
    folder = current(store, dataset, detector).path
    assert folder is not None
    return folder


def test_an_audit_and_a_training(store: Store, made: Pages, tmp_path: Path) -> None:
    """What doctor found makes the page of the dataset anew; the record of a training that of the detector."""
    put(store, "c", "two", 3, card={"weights": {"recipe_key": "0123456789ab"}})
    report.write(store, tmp_path / "site")
    made.clear()
    digest = current(store, "one", "a").manifest["dataset"]["digest"]
    store.audit_file("one", digest).write_text("{}")
    report.write(store, tmp_path / "site")
    assert made == ["datasets/one/index.html"]
    made.clear()
    folder = store.weights_folder("c", "0123456789ab")
    folder.mkdir(parents=True)
    (folder / "train.json").write_text('{"stages": []}')
    report.write(store, tmp_path / "site")
    assert made == ["detectors/c/index.html"]
    assert b"{'stages': []}" in (tmp_path / "site" / "detectors" / "c" / "index.html").read_bytes()


def test_a_damaged_cell_is_on_the_page(store: Store, made: Pages, tmp_path: Path) -> None:
    """As failed, with its reason, which names no folder of this machine; the others have their numbers."""
    (folder_of(store, "one", "a") / "scores.parquet").write_bytes(b"?")
    (folder_of(store, "two", "c") / "cell.json").write_text("[]")
    report.write(store, tmp_path / "site")
    told = {path: content.decode() for path, content in tree(tmp_path / "site").items() if path.startswith("cells")}
    assert "not readable: " in told["cells/one/a/index.html"]
    assert "not a JSON object (two/c/" in told["cells/two/c/index.html"]
    assert "'b', 0." in told["cells/one/b/index.html"]
    assert not any(str(tmp_path) in text for text in told.values())


@pytest.mark.parametrize("error", [DataError("no such thing"), KeyError("leakage")])
def test_a_page_that_cannot_be_made(
    store: Store, made: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The error names it, and the site stays as it was; when it can be made again, all is well."""
    site = tmp_path / "site"
    report.write(store, site)
    before = tree(site)
    put(store, "a", "one", 9)

    def fail(*_: object) -> Files:
        raise error

    for module, name in ((cell_page, "a on one"), (dataset_page, "datasets/one/index.html")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "build", fail)
            with pytest.raises(StoreError) as found:
                report.write(store, site)
        assert found.value.what.startswith(f"the page of {name} cannot be made: ")
        assert found.value.what.endswith(("no such thing", "KeyError: 'leakage'"))
        assert found.value.remedy or isinstance(error, DataError)
        assert {path for path in before if tree(site)[path] != before[path]} <= {"cells/one/a/index.html"}
    report.write(store, site)
    report.write(store, tmp_path / "anew")
    assert tree(site) == tree(tmp_path / "anew")


def test_interrupted(store: Store, made: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first build leaves a folder that the next one goes on with."""

    def interrupt(*_: object) -> Files:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(front, "build", interrupt)
        with pytest.raises(KeyboardInterrupt):
            report.write(store, tmp_path / "site")
    assert not (tmp_path / "site" / "index.html").exists()
    assert report.write(store, tmp_path / "site").made == len(ALL)


def test_the_front_page_is_written_last(
    store: Store, made: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees it sees the pages that it links to."""
    order: list[str] = []

    def seen(out: Path, files: Files) -> dict[str, ledger.Stored]:
        order.extend(files)
        return stored(out, files)

    stored = ledger.stored
    monkeypatch.setattr(ledger, "stored", seen)
    report.write(store, tmp_path / "site")
    assert order[-2:] == ["index.html", "t.csv"]


def test_no_cell_yet(made: Pages, tmp_path: Path) -> None:
    """An empty store has a front page and the methods."""
    (tmp_path / "results").mkdir()
    assert report.write(Store(tmp_path / "results"), tmp_path / "site").made == 2
    assert made == ["index.html", "methods.html"]


def test_a_blocked_pair_and_lists_of_two_digests(store: Store, made: Pages, tmp_path: Path) -> None:
    """A blocked pair has a page. Pairs on a list that is not the first have a page of its digest."""
    store.block("one", "d", "no weights", "get them")
    for seed, detector in enumerate("ef"):
        put_classes(store, detector, "two", *gaussian(seed, counts=(20, 31)), leakage="held-out")
    report.write(store, tmp_path / "site", processes=1)
    digests = sorted({cell.manifest["dataset"]["digest"] for cell in store.current() if cell.dataset == "two"})
    assert {places.cell("one", "d"), places.detector("d")} <= set(made)
    comparisons = {path for path in made if "two/compare" in path}
    assert comparisons == {"datasets/two/compare.html", places.comparison("two", digests[1])}


def test_the_same_bytes(demo_run: tuple[Path, Any], tmp_path: Path) -> None:
    """Of one store: in any folder, by one process or by two."""
    folder, _ = demo_run
    report.write(Store(folder / "results"), tmp_path / "again", recordings=Recordings(folder / "data"), processes=2)
    first, second = tree(folder / "site"), tree(tmp_path / "again")
    assert first.keys() == second.keys()
    assert [path for path in first if first[path] != second[path]] == []


def test_what_older_versions_left(store: Store, tmp_path: Path) -> None:
    """The true pages ask nothing of a manifest that older versions did not write, and name no folder of a machine."""
    shutil.rmtree(store.root / "two")
    store.block("one", "d", "the weights are not here: /home/somebody/w.pt", "get them")
    for cell in store.current():
        if cell.finished:
            facts = {name: cell.manifest["dataset"][name] for name in ("name", "digest", "trials", "bonafide", "spoof")}
            store.refresh(cell, {"dataset": facts, "leakage": None, "detector": {"name": cell.detector}})
    put(store, "e", "one", 4)
    (folder_of(store, "one", "e") / "scores.parquet").write_bytes(b"?")
    report.write(store, tmp_path / "site", processes=1)
    pages = {path: content for path, content in tree(tmp_path / "site").items() if path.endswith((".html", ".json"))}
    assert len([path for path in pages if path.endswith("index.html")]) == 1 + 1 + 4 + 4
    assert not any(b"/home/somebody" in content or str(tmp_path).encode() in content for content in pages.values())


def test_torch_stays_out() -> None:
    """A build imports it for audio alone: it takes longer than all that an unchanged store needs."""
    script = "import sys, bench.cli.results, bench.report, bench.report.audible; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1]).returncode == 0
