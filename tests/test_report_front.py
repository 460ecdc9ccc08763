"""The front page: what it says of every cell, what it never ranks together, and that no name breaks out of it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import results
from bench.averages import averages
from bench.report import front, measured
from bench.report.front import BAR, Scale
from bench.report.measured import Measured
from bench.report.site import Site
from bench.report.tables import Files
from bench.store import Store
from bench.trials import digest
from tests.pages import Page
from tests.stores import NAN, put, put_classes, trial_list

IDS = ["b1", "b2", "b3", "b4", "s1", "s2", "s3", "s4"]
EERS = {0: [4.0, 5, 6, 7, 0, 1, 2, 3], 25: [3.0, 5, 6, 7, 0, 1, 2, 4], 50: [1.0, 3, 5, 7, 0, 2, 4, 6]}  # percent
HOSTILE = "<script>alert('x')</script>&amp;\"'=" + "y" * 20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def measure(store: Store, detector: str, dataset: str, percent: int, ids: Sequence[str] = IDS, **more: Any) -> None:
    """A cell of a known EER on eight trials."""
    scores = dict(zip(ids, EERS[percent], strict=True))
    put(store, trial_list(ids), scores, detector=detector, dataset=dataset, **{"leakage": "held-out", **more})


def clear(store: Store, detector: str, dataset: str, errors: int, **more: Any) -> None:
    """A cell on 200 trials, `errors` of 100 of each class on the wrong side: an EER of so many percent."""
    bonafide = [float(n >= errors) for n in range(100)]
    spoof = [float(n < errors) for n in range(100)]
    spread = [n / 1000 for n in range(100)]
    scores = ([a + b for a, b in zip(side, spread, strict=True)] for side in (bonafide, spoof))
    put_classes(store, detector, dataset, *scores, **{"leakage": "held-out", **more})


def built(store: Store) -> Files:
    found = results.collect(store)
    told = [Measured(result, None) for result in found]
    return front.build(told, averages(found, store), measured.lines(told), Site())


def page_of(store: Store) -> Page:
    return Page(built(store)["index.html"])


def matrix(page: Page) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the leaderboard."""
    _, header, *rows = page.tables[0]
    return header, rows


def known(store: Store) -> dict[str, Any]:
    """The block of data for the script."""
    (text,) = re.findall(rb'<script type="application/json" id="known">(.*?)</script>', built(store)["index.html"])
    told: dict[str, Any] = json.loads(text)
    return told


def test_a_square_says_what_was_measured(store: Store) -> None:
    """Rank, EER as a link to its cell, interval and F1; then speed, parameters and the day of the last run."""
    card = {"title": "Bad one", "family": "fam", "parameters": 12_345_678, "licence": "CC-BY-NC-4.0"}
    timings = {"audio_seconds_per_second": 0.44}
    clear(store, "bad", "itw", 40, card=card, timings=timings, finished="2026-01-02T23:00:00+00:00")
    clear(store, "good", "itw", 10, card={"parameters": 297_866})
    page = page_of(store)
    header, (first, second) = matrix(page)
    assert header == ["Detector", "itw 200 trials", "Audio seconds/s", "Parameters (M)", "Last run"]
    result = next(one for one in results.collect(store) if one.cell.detector == "bad")
    assert result.uncertainty is not None
    told = f"rank 2 40.00 {result.uncertainty.interval('eer').told} F1 {result.f1_bonafide:.4f}"
    assert second == ["Bad one bad · fam non-commercial", told, "0.44", "12", "2026-01-02"]
    assert first[0] == "good"
    assert first[1].startswith("rank 1 10.00 ")
    assert first[2:] == ["–", "0.30", "–"]
    assert {"cells/itw/bad/index.html", "detectors/bad/index.html", "datasets/itw/index.html"} <= set(
        page.values("href")
    )
    assert "Lowest EER on itw: good, 10.00 %" in page.text
    assert "Next: Bad one, 40.00 %, 30.00 points more." in page.text


def test_detectors_that_no_trial_tells_apart_share_a_rank(store: Store) -> None:
    """A shared rank has `=`, the best of all is shaded with all that share its rank, and the headline counts them."""
    for name, percent in (("a", 0), ("b", 25), ("c", 50)):
        measure(store, name, "itw", percent)
    page = page_of(store)
    _, rows = matrix(page)
    assert [row[1][:7] for row in rows] == ["rank 1=", "rank 1=", "rank 1="]
    assert page.values("class").count("lead") == 3
    assert "2 more share its rank: no difference could be shown." in page.text


def test_what_has_seen_the_trials_leads_nobody(store: Store) -> None:
    """Its EER and rank stand there, marked; neither shade nor headline is its."""
    clear(store, "cheat", "itw", 0, leakage="seen")
    clear(store, "fair", "itw", 20)
    page = page_of(store)
    _, (first, second) = matrix(page)
    assert (first[0], first[1][:16]) == ("cheat", "rank 1 0.00 seen")
    assert (second[0], "lead" in page.values("class")) == ("fair", False)
    assert "Lowest EER on itw, of detectors that have not seen its trials: fair, 20.00 %" in page.text
    clear(store, "cheat", "itw", 40, leakage="seen", finished="2026-01-02")
    assert "Lowest EER on itw: fair, 20.00 %" in page_of(store).text


def test_probes_and_chance_lead_only_each_other(store: Store) -> None:
    """The headline leaves them out, of the next one too, and says so where one of them has the lower EER."""
    clear(store, "coin", "itw", 10, card={"family": "chance"})
    clear(store, "level", "itw", 30, card={"family": "shortcut probe"})
    assert "Lowest EER on itw: coin, 10.00 %" in page_of(store).text
    clear(store, "fair", "itw", 20)
    clear(store, "worse", "itw", 45)
    assert "Lowest EER on itw, probes and chance left out: fair, 20.00 %" in (told := page_of(store).text)
    assert "Next: worse, 45.00 %, 25.00 points more." in told


def test_one_group_is_ranked(store: Store) -> None:
    """The held-out average orders the rows; an average over other datasets has no rank and says over how many."""
    for dataset, errors in (("itw", 10), ("mlaad-en", 20), ("dfadd", 30)):
        clear(store, "full", dataset, errors)
        clear(store, "worse", dataset, errors + 15)
    clear(store, "part", "itw", 0)
    clear(store, "part", "mlaad-en", 0)
    clear(store, "part", "dfadd", 0, leakage="in-domain")
    page = page_of(store)
    header, rows = matrix(page)
    assert header[1:3] == ["Held-out average EER over 3 datasets", "Overall average EER over 3 datasets"]
    assert [row[0] for row in rows] == ["full", "worse", "part"]
    assert rows[0][1].startswith("rank 1 20.00 ")
    assert rows[1][1].startswith("rank 2 35.00 ")
    assert (rows[2][1][:5], rows[2][1][-15:]) == ("0.00 ", "over 2 datasets")
    assert rows[2][2].startswith("rank 1 0.00 ")
    assert "Lowest held-out average over 3 datasets: full, 20.00 %" in page.text


def test_the_group_of_most_detectors_is_ranked(store: Store) -> None:
    """Not that of probes, which were trained on nothing and so are held out everywhere, nor that of most datasets."""
    for dataset, errors in (("itw", 10), ("mlaad-en", 20), ("dfadd", 30)):
        clear(store, "level", dataset, errors, card={"family": "shortcut probe"})
        clear(store, "coin", dataset, errors, card={"family": "chance"})
        clear(store, "alone", dataset, errors + 5)
        for name in ("fair", "worse", "worst"):
            clear(store, name, dataset, errors + 10, leakage="in-domain" if dataset == "dfadd" else "held-out")
    page = page_of(store)
    header, rows = matrix(page)
    assert header[1:3] == ["Held-out average EER over 2 datasets", "Overall average EER over 3 datasets"]
    assert [row[0].split()[0] for row in rows[:3]] == ["fair", "worse", "worst"]
    ranked = {row[0].split()[0]: (row[1].startswith("rank"), row[2].startswith("rank")) for row in rows}
    assert ranked["alone"] == ranked["level"] == ranked["coin"] == (False, True)


def test_two_trial_lists_of_one_name_are_two_columns(store: Store) -> None:
    """Each with its digest and its own first rank; a blocked cell stands in the list that most cells have."""
    others = [f"{name}x" for name in IDS]
    measure(store, "old", "itw", 25, ids=others)
    measure(store, "new", "itw", 25)
    measure(store, "newer", "itw", 25)
    store.block("itw", "absent", "no checkpoint", "bench fetch")
    header, rows = matrix(page_of(store))
    many, few = (digest(trial_list(ids))[:12] for ids in (IDS, others))
    assert header[1:3] == [f"itw {many} 8 trials", f"itw {few} 8 trials"]
    squares = {row[0]: [square[:7] for square in row[1:3]] for row in rows}
    assert squares["old"] == ["–", "rank 1 "]
    assert squares["new"] == squares["newer"] == ["rank 1=", "–"]
    assert squares["absent"] == ["blocked", "–"]


def test_columns_stand_corpora_first(store: Store) -> None:
    """Whole corpora, then other lists of one, then samples and perturbed versions."""
    for name in ("itw:8", "itw+mp3@64k", "asvspoof2021-df-all", "mlaad-en", "itw"):
        measure(store, name, name, 25)
    header, _ = matrix(page_of(store))
    names = [cell.removesuffix(" 8 trials") for cell in header[1:-3]]
    assert names == ["itw", "mlaad-en", "asvspoof2021-df-all", "itw+mp3@64k", "itw:8"]


def test_a_store_without_any_number_has_the_eer_to_choose(store: Store) -> None:
    """The script finds a metric, though nothing has a value."""
    store.block("itw", "det", "no weights", "get them")
    assert [one["name"] for one in known(store)["metrics"]] == ["eer"]


def test_cells_without_numbers_say_why(store: Store) -> None:
    """Their status stands in the matrix; reason and remedy in a table, once where several datasets have the same."""
    measure(store, "good", "itw", 0)
    for dataset in ("itw", "mlaad-en"):
        store.block(dataset, "absent", "no file absent.pth", "bench fetch detectors absent")
    put(store, trial_list(IDS), dict.fromkeys(IDS, NAN), detector="deaf", dataset="itw")
    page = page_of(store)
    _, rows = matrix(page)
    assert {row[0]: row[1:3] for row in rows}["absent"] == ["blocked", "blocked"]
    assert page.values("title").count("no file absent.pth") == 2
    (_, header, *reasons) = page.tables[1]
    assert header == ["Detector", "Datasets", "Status", "Reason", "Remedy"]
    assert reasons[0] == ["absent", "itw, mlaad-en", "blocked", "no file absent.pth", "bench fetch detectors absent"]
    assert reasons[1][:4] == ["deaf", "itw", "incomplete", "8 of 8 files could not be scored;"]


def test_a_number_over_part_of_the_trials_is_marked(store: Store) -> None:
    """It has no rank, and the mark says how many trials it leaves out."""
    scores = dict(zip(IDS, EERS[25], strict=True)) | {"b1": NAN}
    put(store, trial_list(IDS), scores, dataset="itw", leakage="held-out", allow_missing=True)
    page = page_of(store)
    _, (row,) = matrix(page)
    assert "part of the trials" in row[1]
    assert not row[1].startswith("rank")
    assert "over the scored trials only: 1 of 8 have no score" in page.values("title")


@pytest.mark.parametrize(
    ("eer", "comparable", "told"),
    [(10.0, True, "published, reproduced: ✓ 10"), (1.5, True, "published, off: ≠ 1.5"), (1.5, False, "(1.5)")],
)
def test_published_numbers_are_marked(store: Store, eer: float, comparable: bool, told: str) -> None:
    """Reproduced, off, or not comparable; the whole verdict with its source is the title of the mark."""
    published = [{"dataset": "own", "eer": eer, "source": "Table 3", "comparable": comparable, "note": "other weights"}]
    clear(store, "one", "own", 10, card={"published": published})
    page = page_of(store)
    assert told in matrix(page)[1][0][1]
    (title,) = (text for text in page.values("title") if text.startswith("published"))
    assert title.startswith(f"published {eer:g} %: ")
    assert title.endswith("; Table 3")


def test_several_seeds_are_one_number(store: Store) -> None:
    """The mean, of which the square says so; best and worst are its title."""
    for seed, errors in ((3, 10), (4, 20)):
        made = {"weights": {"seed": seed, "verified": True, "trained": True}}
        clear(store, "det", "itw", errors, card=made)
    store.resolve_band({cell.manifest["detector"]["weights"]["seed"]: cell for cell in store.pair("itw", "det")})
    page = page_of(store)
    _, (row,) = matrix(page)
    assert row[1].startswith("rank 1 15.00 ")
    assert row[1].endswith("mean of 2 seeds")
    assert "mean of 2 seeds, best 10.00, worst 20.00" in page.values("title")
    told = known(store)
    place = [metric["name"] for metric in told["metrics"]].index("auc")
    band = results.collect(store)[0].band
    assert band is not None
    aucs = [one.metrics["auc"] for one in band.results.values() if one.metrics is not None]
    assert len(aucs) == 2
    assert told["rows"][0]["cells"][0]["values"][place] == pytest.approx(sum(aucs) / 2, rel=1e-4)


def test_the_script_has_every_metric_of_every_square(store: Store) -> None:
    """Values and interval ends as `bench show` has them, rows and columns as in the table; only metrics with data."""
    clear(store, "b", "itw", 30, card={"licence": "CC-BY-NC-4.0", "family": "fam", "parameters": 7})
    clear(store, "a", "mlaad-en", 10)
    told = known(store)
    names = [metric["name"] for metric in told["metrics"]]
    assert names == ["eer", "f1_bonafide", "f1_spoof", "auc", "min_dcf"]
    assert [metric["lowest"] for metric in told["metrics"]] == [True, False, False, False, True]
    first, second = told["rows"]
    assert (first["family"], first["use"], first["parameters"], second["use"]) == ("fam", "clear", 7, "commercial")
    assert (first["cells"][1], second["cells"][0]) == (None, None)
    (result,) = results.collect(store, ["itw"])
    assert result.metrics is not None and result.uncertainty is not None
    assert first["cells"][0]["values"] == pytest.approx([result.metrics[name] for name in names], rel=1e-4)
    ends = [end for name in names for end in vars(result.uncertainty.interval(name)).values()]
    assert [*itertools.chain(*first["cells"][0]["ends"])] == pytest.approx(ends, rel=1e-4)
    assert first["cells"][0]["leakage"] == "held-out"


@given(top=st.floats(0.001, 1), rates=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_bar_keeps_the_order_of_rates(top: float, rates: list[float]) -> None:
    """From 0 to the end of the bar; what lies beyond the scale stands at its end."""
    low, high = (float(Scale(top).at(rate)) for rate in sorted(rates))
    assert 0 <= low <= high <= BAR
    assert float(Scale(top).at(top)) == BAR
    assert float(Scale(1.0).at(0.25)) == BAR / 2


def test_cells_of_older_versions_are_shown(store: Store) -> None:
    """A manifest without leakage, timings and card gives dashes and the bare name, not an error."""
    put(store, trial_list(IDS), dict(zip(IDS, EERS[25], strict=True)), detector="old", dataset="itw")
    _, (row,) = matrix(page_of(store))
    assert row[0] == "old"
    assert "leakage unknown" in row[1]
    assert row[2:] == ["–", "–", "–"]


def hostile(store: Store, text: str) -> None:
    """`text` in every place that a user or a card can fill."""
    published = [{"dataset": text, "eer": 1.0, "source": text, "note": text}]
    weights = {"file": text, "licence": text, "verified": False}
    card = {"title": text, "family": text, "licence": text, "notices": [text], "published": published}
    for dataset in (text, "itw"):
        clear(store, text, dataset, 10, card={**card, "weights": weights}, leakage="held-out")
        store.block(dataset, "absent", text, text)


def test_a_name_is_text_and_never_markup(store: Store, tmp_path: Path) -> None:
    """Script tags and quotes in every field come out as the text they are: same elements as with a plain name."""
    hostile(store, HOSTILE)
    page = page_of(store)
    plain = Store(tmp_path / "plain")
    hostile(plain, "0plain")  # sorted before itw, as the other is
    expected = page_of(plain)
    assert [(tag, list(attrs)) for tag, attrs in page.elements] == [
        (tag, list(attrs)) for tag, attrs in expected.elements
    ]
    assert page.text.count(HOSTILE) == expected.text.count("0plain") >= 10
    assert HOSTILE in page.values("data-column")[3]


def test_the_page_keeps_its_own_policy(store: Store) -> None:
    """No inline style, handler or foreign script; a caption a table; ids are unique and local links find theirs."""
    hostile(store, HOSTILE)
    page = page_of(store)
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"]
    scripts = [attrs for tag, attrs in page.elements if tag == "script"]
    assert [attrs.get("src", attrs.get("type")) for attrs in scripts] == [
        "assets/state.js",
        "assets/leaderboard.js",
        "application/json",
    ]
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table") == 2
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(page.values("aria-labelledby")) <= set(ids)
    assert {href.partition("#")[2] for href in page.values("href") if "#" in href} <= set(ids)
    assert not [href for href in page.values("href") if re.match(r"[a-z]+:|/", href) and href != "data:,"]


def test_the_files_are_there_and_the_same_each_time(store: Store) -> None:
    """The page and its data, whatever it links to in `data/`, byte for byte the same."""
    clear(store, "one", "itw", 10)
    made = built(store)
    assert made == built(store)
    linked = {href for href in Page(made["index.html"]).values("href") if href.startswith("data/")}
    assert linked == set(made) - {"index.html"}


def test_an_empty_store_says_what_to_run(store: Store) -> None:
    """Without any cell the page names the commands that make some."""
    page = page_of(store)
    assert "This store holds no cell yet. bench run --detectors all --datasets itw makes some" in page.text
    assert page.tables == []
