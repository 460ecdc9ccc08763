"""The page of a dataset: what it is, a ranking for each of its lists, what probes reach, what doctor found."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import results, scored
from bench.audits import Found, Kept, Property
from bench.cellwriter import CellWriter
from bench.report import dataset_page, places
from bench.report.figures import drawing
from bench.report.measured import Measured, draw, lines
from bench.report.site import Site
from bench.report.tables import Files
from bench.report.trial_list import TrialList, distinct, lists_of
from bench.results import F1_HEADLINE
from bench.store import Store
from bench.trials import digest
from tests.pages import Page
from tests.stores import NAN, put, trial_list

IDS = ["b1", "b2", "b3", "b4", "s1", "s2", "s3", "s4"]
ATTACKS = ["", "", "", "", "A1", "A1", "A2", "A2"]
CODECS = ["x", "y", "x", "y", "x", "y", "x", "y"]
GOOD = (4.0, 5, 6, 7, 0, 1, 2, 3)
FAIR = (3.0, 5, 6, 7, 0, 1, 2, 4)  # EER 25 %: b1 is below s4, an A2
BAD = (0.0, 1, 2, 3, 4, 5, 6, 7)
HOSTILE = "<script>alert('x')</script>&amp;\"'=" + "y" * 260
PROBE = {"family": "shortcut probe"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes most of the time, unless a test asks for `drawn`."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(drawing, "svg", lambda *_: ("<svg></svg>", 10))


@pytest.fixture
def drawn() -> None:
    """For tests that need figures as they are on the page."""


def measure(
    store: Store,
    detector: str,
    scores: Sequence[float] = GOOD,
    dataset: str = "set",
    ids: Sequence[str] = IDS,
    attacks: Sequence[str] = ATTACKS,
    **more: Any,
) -> None:
    trials = trial_list(ids, attack=attacks, codec=CODECS)
    more = {"leakage": "held-out", "made": {"title": f"Title of {detector}", "family": "fam"}, **more}
    put(store, trials, dict(zip(ids, scores, strict=True)), detector=detector, dataset=dataset, **more)


def measured(store: Store) -> list[Measured]:
    lists = scored.trial_lists(store)
    return [
        Measured(result, None if result.metrics is None else draw(scored.load(result.cell, lists)))
        for result in results.collect(store)
    ]


def built(store: Store, dataset: str = "set", audits: Mapping[str, Kept] | None = None) -> Files:
    found = measured(store)
    return dataset_page.build(dataset, found, lines(found), audits or {}, Site())


def page_of(store: Store, dataset: str = "set", audits: Mapping[str, Kept] | None = None) -> Page:
    return Page(built(store, dataset, audits)[places.dataset(dataset)])


def board(page: Page) -> list[list[str]]:
    """The first ranking: its caption, header and rows."""
    return next(table for table in page.tables if table[1][0] == "Rank")


def rows_of(files: Files, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(files[f"datasets/set/{name}.json"])["rows"]
    return rows


def test_the_ranking_says_what_was_measured(store: Store) -> None:
    """Rank, detector, EER with interval, named F1, AUC, own accuracy, speed and status; counts and digest above."""
    measure(
        store, "fair", FAIR, decision={"column": "score", "threshold": 0.5}, timings={"audio_seconds_per_second": 0.44}
    )
    measure(store, "good", made={})
    page = page_of(store)
    (caption,), header, first, second = board(page)
    known = digest(trial_list(IDS))
    assert caption == f"set: 8 trials, 4 bona fide and 4 spoof, digest {known[:12]}"
    assert header == [
        "Rank", "Detector", "EER %", "95 % interval", F1_HEADLINE, "AUC", "Accuracy % (the detector’s own threshold)",
        "Audio seconds/s", "Status",
    ]  # fmt: skip
    told = "complete few errors (0 bona fide, 0 spoofed): the interval may be too narrow"
    assert first == ["1", "good held-out", "0.00", "0.00–0.00", "1.0000", "1.0000", "–", "–", told]
    assert second[:2] == ["1", "Title of fair fair · fam held-out"]
    # b1 lies below s4: of 16 pairs one is lost. Above 0.5 are all but s1.
    assert (second[2], second[4:8]) == ("25.00", ["0.7500", "0.9375", "62.50", "0.44"])
    assert f"Digest{known}" in "".join(page.text.split())


def test_the_ranking_as_data(store: Store) -> None:
    """The table beside the page has the same rows with full fractions, as CSV and as JSON."""
    measure(store, "fair", FAIR)
    measure(store, "good")
    files = built(store)
    rows = rows_of(files, "ranking")
    assert [(row["rank"], row["detector"], row["eer"], row["auc"]) for row in rows] == [
        (1, "good", 0.0, 1.0), (1, "fair", 0.25, 0.9375),
    ]  # fmt: skip
    assert rows[1]["eer_low"] <= 0.25 <= rows[1]["eer_high"]
    told = list(csv.DictReader(io.StringIO(files["datasets/set/ranking.csv"].decode())))
    assert [row["eer"] for row in told] == ["0.0", "0.25"]


def test_what_the_dataset_is(store: Store) -> None:
    """Title, summary, notes, licence, warnings, and its counts against the published ones."""
    facts = {
        "title": "The set", "summary": "Eight trials.", "notes": ["Mind `this`."], "licence": "CC BY 4.0",
        "counts": {"trials": 9, "bonafide": 4, "spoof": 5, "speakers": 3}, "about": ["It holds eight."],
        "warnings": ["8 trials, not the published 9"],
    }  # fmt: skip
    measure(store, "good", facts=facts)
    text = "".join(page_of(store).text.split())
    for told in (
        "The set Eight trials. Mind this.", "Licence CC BY 4.0", "Trials 8 published: 9", "Bona fide 4 as published",
        "Spoof 4 published: 5", "Speakers published: 3", "It holds eight. 8 trials, not the published 9",
    ):  # fmt: skip
        assert "".join(told.split()) in text, told


def test_a_manifest_that_tells_nothing(store: Store) -> None:
    """Cells of older versions, without texts on dataset and detector, have a page; the shipped card tells the rest."""
    trials = trial_list(IDS)
    store.write_trials("itw", digest(trials), trials)
    about = {"key": "1" * 64, "dataset": {"name": "itw", "digest": digest(trials)}, "detector": {"name": "old"}}
    writer = CellWriter(store, about, trials)
    table = trials[["trial"]].assign(score=GOOD, seconds=1.0, note="")
    writer.add(table)
    writer.finish({})
    page = page_of(store, "itw")
    assert board(page)[0] == [f"itw: 8 trials, 4 bona fide and 4 spoof, digest {digest(trials)[:12]}"]
    assert "In-the-Wild" in page.text and "CC BY-SA 4.0" in page.text
    assert "https://arxiv.org/abs/2203.16263" in page.values("href")


def test_two_lists_of_one_name_stand_apart(store: Store) -> None:
    """Cells of two digests have two rankings, the one with more cells first, files of two names, and a sentence why."""
    measure(store, "old", FAIR, ids=[*IDS[:-1], "s9"])
    measure(store, "new")
    measure(store, "newer", FAIR)
    files = built(store)
    page = Page(files[places.dataset("set")])
    many, one = (table for table in page.tables if table[1][0] == "Rank")
    assert ([row[0] for row in many[2:]], [row[0] for row in one[2:]]) == (["1", "1"], ["1"])
    assert "Results of different lists are never compared" in page.text
    other = digest(trial_list([*IDS[:-1], "s9"]))[:12]
    assert {"datasets/set/ranking.csv", f"datasets/set/ranking-{other}.csv"} <= set(files)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert [len(members) for members in lists_of(measured(store))] == [2, 1]
    assert page.values("href").count("compare.html") == 1  # one cell is no pair


def test_other_lists_of_the_corpus_are_named_and_never_compared(store: Store) -> None:
    """Siblings that have a page are linked; a perturbed version is none."""
    for dataset in ("asvspoof2021-la", "asvspoof2021-la-all", "itw"):
        measure(store, "good", dataset=dataset)
    measure(
        store, "good", dataset="asvspoof2021-la+mp3@64k", facts={"clean": "asvspoof2021-la", "perturbation": "mp3@64k"}
    )
    page = page_of(store, "asvspoof2021-la")
    assert "asvspoof2021-la-all. Results of different lists are never compared." in page.text
    assert "../itw/index.html" not in page.values("href")
    perturbed = page_of(store, "asvspoof2021-la+mp3@64k")
    assert "each changed on the fly by mp3@64k" in perturbed.text
    assert "The files are those of asvspoof2021-la" in " ".join(perturbed.text.split())


def test_eer_by_attribute(store: Store) -> None:
    """Heat maps of detector and attack, and codec: all bona fide against an attack, both classes of a codec."""
    measure(store, "fair", FAIR)
    measure(store, "good")
    files = built(store)
    eers = {(row["detector"], row["value"]): row["eer"] for row in rows_of(files, "by-attack")}
    # The spoofs of A2 score 2 and 4: one of four bona fide and one of two spoofs are on the wrong side.
    assert eers == {("good", "A1"): 0.0, ("good", "A2"): 0.0, ("fair", "A1"): 0.0, ("fair", "A2"): 0.375}
    # Codec x: 3, 6 against 0, 2; codec y: 5, 7 against 1, 4.
    assert {row["eer"] for row in rows_of(files, "by-codec")} == {0.0}
    page = Page(files[places.dataset("set")])
    assert {"by-attack", "by-codec", "intervals", "det", "scores"} <= set(page.values("id"))
    assert page.values("id").index("by-attack") < page.values("id").index("by-codec")


def test_a_list_without_attributes(store: Store) -> None:
    """Nothing is said of attributes where no trial has one."""
    put(store, trial_list(IDS), dict(zip(IDS, GOOD, strict=True)), detector="good")
    page = page_of(store)
    assert "Where detectors fail" not in page.text
    assert not [name for name in page.values("id") if name.startswith("by-")]


def test_what_probes_reach(store: Store) -> None:
    """A probe has its own table that says what it means; figures leave it out."""
    ids = [f"b{n}" for n in range(40)] + [f"s{n}" for n in range(40)]

    def mixed(wrong: int) -> list[float]:
        return [float(n >= wrong) + n / 1000 for n in range(40)] + [float(n < wrong) + n / 1000 for n in range(40)]

    for name, wrong in (("leaks", 4), ("turned", 36), ("blind", 20)):
        trials = trial_list(ids)
        put(store, trials, dict(zip(ids, mixed(wrong), strict=True)), detector=name, made=PROBE)
    put(store, trial_list(ids), dict(zip(ids, mixed(8), strict=True)), detector="det")
    page = page_of(store)
    (table,) = (table for table in page.tables if table[0][0] == "Probe")
    assert {row[0]: (row[1], row[4]) for row in table[1:]} == {
        "leaks": ("10.00", "the class leaks through this property: more of it means bona fide"),
        "turned": ("90.00", "the class leaks through this property, the other way round: 10.00 % with its sign turned"),
        "blind": ("50.00", "no more than chance: its interval holds 50 %"),
    }
    (one,) = lists_of(measured(store))
    found = TrialList(one, lines(one), None, first=True)
    assert [row.detector for row in found.listening] == ["det"]
    assert found.figures[0].title == "EER and its 95 % interval of the detector, probes and chance left out"


def test_no_probe_was_run(store: Store) -> None:
    """The page names the command that runs them."""
    measure(store, "good")
    assert "bench run --detectors 'probe-*' --datasets set" in page_of(store).text


def test_figures_show_the_six_best(store: Store) -> None:
    """Curves and scores are of the six lowest EERs, said so; the intervals are of all."""
    for number in range(7):
        measure(store, f"d{number}", FAIR if number == 6 else GOOD)
    (one,) = lists_of(measured(store))
    found = TrialList(one, lines(one), None, first=True)
    titles = [figure.title for figure in found.figures]
    assert titles == [
        "EER and its 95 % interval of all detectors",
        "DET curves of the 6 detectors with the lowest EER",
        "Scores by class of the 6 detectors with the lowest EER",
    ]
    told = json.dumps(found.figures[1].spec)
    assert "d5" in told and "d6" not in told
    assert "d6" in json.dumps(found.figures[0].spec)


def kept(**more: Any) -> Kept:
    about = {"digest": "ab" * 32, "bench": "1.2", "examined": "2026-05-04T03:02:01+00:00", "trials": 8, "files": 7}
    return Kept(**{**about, "findings": [], "shortcuts": [], **more})


def test_doctors_findings(store: Store) -> None:
    """Findings stand with the worst first, five examples and no folder of a machine; properties with a verdict."""
    measure(store, "good")
    missing = Found(
        kind="missing", severity="error", what="7 of 9 audio files missing", count=7,
        examples=[f"/home/me/x{n}.wav" for n in range(7)], remedy="`bench fetch` them",
    )  # fmt: skip
    note = Found(kind="n", severity="note", what="a note")
    rate = Property(name="sample rate", unit="Hz", eer=0.5, auc=0.5, bonafide=16000, spoof=0.25)
    differs = Found(kind="not the published list", severity="note", what="other counts")
    length = Property(name="duration", unit="s", eer=0.2, auc=0.9, bonafide=3.0, spoof=2.0, severity="warning")
    audit = kept(findings=[note, differs, missing], shortcuts=[length, rate])
    page = page_of(store, audits={digest(trial_list(IDS)): audit})
    text = " ".join(page.text.split())
    assert "7 files of 8 trials were examined on 2026-05-04 (bench 1.2)." in text
    assert text.index("error: 7 of 9 audio files missing. bench fetch them.") < text.index("note: a note.")
    assert "x4.wav and 2 more" in text and "x5.wav" not in text and "/home" not in text
    assert "other counts" not in text  # stands beside the counts of the list
    rows = [row for table in page.tables for row in table]
    assert ["duration", "20.00", "0.900", "3 s", "2 s", "tells the classes apart"] in rows
    assert ["sample rate", "50.00", "0.500", "16,000 Hz", "0.25 Hz", "–"] in rows


@pytest.mark.parametrize(
    ("audit", "told"),
    [
        (None, "Not examined here: bench doctor --datasets set decodes every file"),
        (kept(), "Nothing was found."),
        (
            kept(examined="", findings=[Found(kind="damaged", severity="error", what="cannot be read")]),
            "cannot be read",
        ),
    ],
)
def test_nothing_found_is_not_nothing_examined(store: Store, audit: Kept | None, told: str) -> None:
    """A page says whether there was no audit, an audit without findings, or one that is damaged."""
    measure(store, "good")
    audits = {} if audit is None else {digest(trial_list(IDS)): audit}
    text = " ".join(page_of(store, audits=audits).text.split())
    assert told in text
    assert ("were examined on" in text) is (audit is not None and bool(audit.examined))


def test_cells_without_numbers_stay_visible(store: Store) -> None:
    """Blocked, failed and refused incomplete cells are listed with reason and remedy, and are in no ranking."""
    store.block("set", "absent", "no file /home/me/absent.pth", "`bench fetch detectors absent`")
    trials = trial_list(IDS)
    about = {"name": "set", "digest": digest(trials), "trials": 8}
    writer = CellWriter(store, {"key": "1" * 64, "dataset": about, "detector": {"name": "failed"}}, trials)
    writer.close("failed", {"reason": "why", "remedy": "what helps"})
    measure(store, "partial", (NAN, *GOOD[1:]))
    page = page_of(store)
    assert "No cell of this dataset has numbers yet." in page.text
    ((_, *rows),) = page.tables
    found = {row[0].split()[0]: row[1:] for row in rows}
    known = digest(trials)[:12]
    assert found["absent"] == ["blocked", "no file …/absent.pth", "bench fetch detectors absent", "–"]
    assert found["failed"] == ["failed", "why", "what helps", known]
    assert found["Title"][:2] == ["incomplete", "1 of 8 files could not be scored;"]


def test_an_accepted_incomplete_cell_has_no_rank(store: Store) -> None:
    """It stands last, and says over how many trials its numbers are."""
    measure(store, "partial", (NAN, *GOOD[1:]), allow_missing=True)
    measure(store, "fair", FAIR)
    _, _, first, last = board(page_of(store))
    assert (first[1].split()[2], last[0], last[1].split()[2]) == ("fair", "–", "partial")
    assert last[-1].startswith("incomplete over the scored trials only: 1 of 8 have no score")


def test_what_perturbations_cost(store: Store) -> None:
    """Each detector on each perturbed version: its difference to the clean audio, or why there is none; as data too."""
    facts = {"clean": "set", "perturbation": "mp3@64k"}
    measure(store, "fair", GOOD, scorer="one")
    measure(store, "fair", FAIR, dataset="set+mp3@64k", facts=facts, scorer="one")
    measure(store, "other", FAIR, dataset="set+mp3@64k", facts=facts, scorer="two")
    files = built(store)
    (table,) = (table for table in Page(files[places.dataset("set")]).tables if table[0][0] == "Dataset")
    assert table[1][:4] == ["set+mp3@64k", "fair", "25.00", "+25.00"]
    assert table[2] == ["set+mp3@64k", "other", "25.00", "–", "–", "other has no cell on set"]
    rows = rows_of(files, "perturbed")
    assert [(row["detector"], row["difference"]) for row in rows] == [("fair", 0.25), ("other", None)]


def test_published_numbers_have_their_own_column(store: Store) -> None:
    """Numbers of this dataset stand beside ours with verdict and source; one that cannot be read is a remark."""
    entry = {"dataset": "set", "eer": 0.01, "f1": None, "source": "Table 3", "note": "all phases"}
    measure(store, "fair", FAIR, made={"published": [entry, {**entry, "dataset": "other", "eer": 77.7}]})
    measure(store, "odd", made={"published": [{"eer": "high"}]})
    page = page_of(store)
    _, header, odd, fair = board(page)
    column = header.index("Published EER % (by others, not ours)")
    assert fair[column].startswith("0.01 ") and fair[column].endswith("; Table 3; all phases")
    assert "77.7" not in page.text
    assert "the published numbers in the manifest cannot be read" in odd[-1]


def put_everywhere(store: Store, text: str) -> None:
    """`text` in every place a user or a card can fill."""
    published = [{"dataset": text[:40], "eer": 1.0, "f1": None, "source": text, "note": text}]
    made = {"title": text, "family": text, "licence": text, "notices": [text], "published": published}
    about = {"title": text, "summary": text, "notes": [text], "licence": text, "about": [text], "warnings": [text]}
    attacks = ["", "", "", "", text, text, "(not given)", ""]
    measure(store, text[:40], dataset=text[:40], attacks=attacks, made=made, facts=about)
    measure(store, "probe", dataset=text[:40], attacks=attacks, made={**made, **PROBE}, facts=about)
    store.block(text[:40], "absent", text, text)


def hostile_page(store: Store, text: str) -> Page:
    put_everywhere(store, text)
    finding = Found(kind=text, severity="note", what=text, examples=[text], remedy=text)
    one = Property(name=text, unit=text, eer=0.5, auc=0.5, bonafide=1.0, spoof=1.0)
    found = measured(store)
    audits = {found[0].result.digest: kept(findings=[finding], shortcuts=[one], bench=text)}
    files = dataset_page.build(text[:40], found, lines(found), audits, Site())
    return Page(files[places.dataset(text[:40])])


@pytest.mark.usefixtures("drawn")
def test_a_name_is_text_and_never_markup(tmp_path: Path) -> None:
    """Script tags and quotes in every field come out as the text they are: same elements as with a plain name."""
    page, plain = (hostile_page(Store(tmp_path / name), text) for name, text in (("a", HOSTILE), ("b", "p" * 40)))
    outline = [[tag for tag, _ in one.elements if tag not in DRAWN] for one in (page, plain)]
    assert outline[0] == outline[1]
    assert page.text.count(HOSTILE) >= 15
    ids = page.values("id")
    assert len(ids) == len(set(ids)) and not [name for name in ids if " " in name]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"]
    labelled = {name for names in page.values("aria-labelledby") for name in names.split()}
    assert labelled <= set(ids)


DRAWN = {"g", "path", "text", "line", "rect", "tspan", "clippath", "defs", "use", "br"}  # what long labels change


@pytest.mark.usefixtures("drawn")
def test_the_same_cells_give_the_same_bytes(store: Store) -> None:
    """The order of the cells does not matter; no folder of this machine is told."""
    measure(store, "fair", FAIR)
    measure(store, "good")
    found = measured(store)
    one, other = (dataset_page.build("set", cells, lines(found), {}, Site()) for cells in (found, found[::-1]))
    assert one == other
    assert not [name for name, content in one.items() if str(store.root).encode() in content]


def test_labels_are_never_the_same() -> None:
    """Names that look alike once they are printable get a number; others stay as they are."""
    assert distinct(["a", "b\n", "b\\n", "b\\n (2)", "a"]) == ["a", "b\\n", "b\\n (2)", "b\\n (2) (2)", "a (2)"]
