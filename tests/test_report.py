"""The page: what it says of every cell, what it never says together, and that no name can break out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench import report
from bench.errors import StoreError
from bench.results import F1_HEADLINE
from bench.store import CellWriter, Store
from bench.trials import BONAFIDE, SPOOF, digest, validate

GOOD = (3.0, 2.0, 1.0, 0.5, -1.0, -2.0)
FAIR = (3.0, 2.0, -1.0, 0.5, -1.5, -2.0)
NAN = float("nan")
FEW = "few errors ({0} bona fide, {0} spoofed): the interval may be too narrow"  # six trials have no more
SCRIPT = "<script>alert('x')</script>&amp;\"'"
COUNTS = {"trials": 6, "bonafide": 3, "spoof": 3}
ABOUT = {"summary": "Six trials.", "notes": ["They are <made up>."]}
VOID = {"meta", "link", "br"}


# What a manifest says of weights made here: on a list that is not the published one, from a random backbone.
TRAINED = {
    "file": "model.safetensors",
    "sha256": "cd" * 32,
    "verified": True,
    "trained": True,
    "seed": 42,
    "recipe_key": "0123456789ab",
    "start": {"backbone": "random", "style": {"file": "w.pt", "sha256": "ef" * 32, "verified": False}},
    "lists": [
        {"name": "calls", "digest": "ab" * 32, "trials": 2580, "warnings": ["2,580 trials, not the published 25,380"]},
        {"name": "watched", "digest": "12" * 32, "trials": 7, "warnings": []},
    ],
}


def trial_list(prefix: str = "t", attack: str = "A01") -> pd.DataFrame:
    """Six trials, three of each class."""
    labels = [BONAFIDE] * 3 + [SPOOF] * 3
    attacks = ["", "", "", attack, attack, "A02"]
    return validate(
        pd.DataFrame({"trial": [f"{prefix}{n}" for n in range(6)], "label": labels, "attack": attacks}), "x"
    )


def put(
    store: Store,
    name: str,
    scores: Sequence[float],
    *,
    dataset: str = "set",
    trials: pd.DataFrame | None = None,
    detector: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    **manifest: Any,
) -> None:
    """A finished cell with the manifest of a run."""
    trials = trial_list() if trials is None else trials
    store.write_trials(dataset, digest(trials), trials)
    facts = {
        "key": "0" * 64,
        "dataset": {"name": dataset, "digest": digest(trials), **COUNTS, **ABOUT, "warnings": list(warnings)},
        "detector": {"name": name, "title": f"Title of {name}", "family": "fam", "licence": "MIT", **(detector or {})},
        "leakage": "held-out",
        "precision": "fp32",
        "timings": {"audio_seconds_per_second": 1234.4},
        **manifest,
    }
    writer = CellWriter(store, facts, trials)
    notes = ["t0.wav: not audio" if score != score else "" for score in scores]
    writer.add(pd.DataFrame({"trial": trials["trial"], "score": scores, "seconds": 1.0, "note": notes}))
    writer.finish({})


class Page(HTMLParser):
    """The page as a browser reads it; unbalanced tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag in ("tr", "caption"):
            self.tables[-1].append([] if tag == "tr" else [""])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th", "caption"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute)) is not None]

    def boards(self) -> list[list[list[str]]]:
        """The leaderboards: rows of cells with their white space collapsed, the caption first, the header second."""
        tidy = [[[" ".join(cell.split()) for cell in row] for row in table] for table in self.tables]
        return [table for table in tidy if table[1][0] == "Rank"]


def rendered(store: Store, out: Path) -> Page:
    return Page(report.write(store, out).read_text(encoding="utf-8"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_the_board_says_what_was_measured(store: Store, tmp_path: Path) -> None:
    """Rank, detector, EER, named F1, AUC, own accuracy, speed and status; counts and digest in the caption."""
    put(store, "fair", FAIR, detector={"decision": {"column": "score", "threshold": 0.0}})
    put(store, "good", GOOD)
    ((caption, header, first, second),) = rendered(store, tmp_path / "out").boards()
    assert caption == [f"set: 6 trials, 3 bona fide and 3 spoof, digest {digest(trial_list())[:12]}"]
    assert header == [
        "Rank",
        "Detector",
        "EER %",
        "95 % interval",
        F1_HEADLINE,
        "AUC",
        "Accuracy % (the detector’s own threshold)",
        "Audio seconds/s",
        "Status",
    ]
    assert F1_HEADLINE == "F1 (bona fide positive, threshold = test-set EER threshold)"
    assert first == [
        "1",
        "Title of good good · fam held-out",
        "0.00",
        "0.00–0.00",
        "1.0000",
        "1.0000",
        "–",
        "1,234",
        f"complete {FEW.format(0)}",
    ]
    assert second == [
        "1",
        "Title of fair fair · fam held-out",
        "33.33",
        "0.00–66.67",
        "0.6667",
        "0.8889",
        "66.67",
        "1,234",
        f"complete {FEW.format(1)}",
    ]


def test_the_details_tell_metrics_attacks_and_manifest(store: Store, tmp_path: Path) -> None:
    """Each measured cell has a closed <details> with its EER per attack, hash, precision, versions and hardware."""
    weights = {"file": "w.pth", "sha256": "ab" * 32, "verified": True}
    put(
        store,
        "good",
        GOOD,
        detector={"weights": weights, "trained_on": ["asvspoof2019-la-train", "other"]},
        versions={"torch": "2.11.0", "bench": "0.1.0"},
        hardware={"device": "some GPU"},
    )
    page = rendered(store, tmp_path / "out")
    assert [attrs for tag, attrs in page.elements if tag == "details"] == [{"id": f"cell/set/good/{'0' * 12}"}]
    (attacks,) = (table for table in page.tables if table[0] == ["EER by attack"])
    assert attacks[2:] == [["A01", "3", "2", "0.00"], ["A02", "3", "1", "0.00"]]
    for told in (
        "0" * 64,
        digest(trial_list()),
        "ab" * 32,
        "fp32",
        "bench 0.1.0 · torch 2.11.0",
        "device some GPU",
        "asvspoof2019-la-train, other",
    ):
        assert told in page.text


def test_rates_that_do_not_differ_share_a_rank_and_an_incomplete_cell_has_none(store: Store, tmp_path: Path) -> None:
    """Six trials tell no two apart; a cell over fewer of them stands last, without a rank, and says over how many."""
    for name, scores in (("a", GOOD), ("b", GOOD), ("c", FAIR), ("partial", (NAN, *GOOD[1:]))):
        put(store, name, scores, allow_missing=name == "partial")
    page = rendered(store, tmp_path / "out")
    ((_, _, *rows),) = page.boards()
    assert [(row[0], row[1].split()[2]) for row in rows] == [("1", "a"), ("1", "b"), ("1", "c"), ("–", "partial")]
    assert rows[-1][-1] == f"incomplete over the scored trials only: 1 of 6 have no score {FEW.format(0)}"
    assert "t0.wav: not audio" in page.text


def test_two_trial_lists_of_one_name_are_never_ranked_together(store: Store, tmp_path: Path) -> None:
    """Cells of two digests stand in two tables, each with its own first rank, and a sentence says why."""
    put(store, "old", FAIR, trials=trial_list("older"))
    put(store, "new", GOOD)
    put(store, "newer", FAIR)
    page = rendered(store, tmp_path / "out")
    many, one = page.boards()
    assert [row[0] for row in many[2:]] == ["1", "1"]
    assert [row[0] for row in one[2:]] == ["1"]
    assert digest(trial_list())[:12] in many[0][0]
    assert digest(trial_list("older"))[:12] in one[0][0]
    assert "Results of different lists are never compared" in page.text


def test_one_trial_list_needs_no_warning(store: Store, tmp_path: Path) -> None:
    """The sentence on different lists is there only where there are several."""
    put(store, "good", GOOD)
    assert "different trial lists" not in rendered(store, tmp_path / "out").text


def test_cells_without_numbers_stay_visible(store: Store, tmp_path: Path) -> None:
    """Blocked, failed, running and refused incomplete cells are listed with reason and remedy, and are in no board."""
    store.block("set", "absent", "no file absent.pth", "bench fetch detectors absent")
    trials = trial_list()
    about = {"name": "set", "digest": digest(trials), **COUNTS}
    for status in ("failed", "running"):
        writer = CellWriter(store, {"key": "1" * 64, "dataset": about, "detector": {"name": status}}, trials)
        writer.close(status, {"reason": f"why {status}", "remedy": f"what helps {status}"})
    put(store, "partial", (NAN, *GOOD[1:]))
    page = rendered(store, tmp_path / "out")
    assert page.boards() == []
    (_, _, *rows), *others = page.tables
    assert others == []
    found = {" ".join(row[0].split()): [cell.strip() for cell in row[1:]] for row in rows}
    known = digest(trials)[:12]
    assert found["absent"] == ["blocked", "no file absent.pth", "bench fetch detectors absent", "–"]
    assert found["failed"] == ["failed", "why failed", "what helps failed", known]
    assert found["running"][:2] == ["running", "interrupted or still running: 0 of 6 trials are stored"]
    assert found["Title of partial partial · fam"][:2] == [
        "incomplete",
        "1 of 6 files could not be scored; t0.wav: not audio",
    ]


@pytest.mark.parametrize(
    ("detector", "manifest", "badges"),
    [
        ({}, {}, ["held-out"]),
        ({}, {"leakage": "seen"}, ["seen"]),
        ({}, {"leakage": "unknown"}, ["leakage unknown"]),
        (
            {"licence": "BSD-3-Clause", "weights": {"licence": "CC-BY-NC-SA-4.0", "verified": True}},
            {},
            ["held-out", "non-commercial"],
        ),
        ({"licence": "other, non-commercial"}, {}, ["held-out", "non-commercial"]),
        ({"licence": "no licence file"}, {}, ["held-out", "no clear licence"]),
        ({"weights": {"file": "w.pth", "verified": False}}, {}, ["held-out", "unverified weights"]),
        ({"weights": {"file": "w.pth", "verified": True, "trained": True}}, {}, ["held-out", "trained here"]),
        ({"weights": TRAINED}, {}, ["held-out", "trained here", "trained on another list", "random backbone"]),
        ({}, {"imported": True}, ["held-out", "imported"]),
    ],
)
def test_badges_qualify_a_row(
    store: Store, tmp_path: Path, detector: dict[str, Any], manifest: dict[str, Any], badges: list[str]
) -> None:
    """Licence limits, weights without a hash or trained here, random parts and imports are marked beside the name."""
    put(store, "good", GOOD, detector=detector, **manifest)
    ((_, _, row),) = rendered(store, tmp_path / "out").boards()
    assert row[1] == " ".join(["Title of good good · fam", *badges])


def test_the_details_tell_what_weights_were_made_of(store: Store, tmp_path: Path) -> None:
    """Seed, recipe key, every list with its digest, and what each part started from; the status says random."""
    put(store, "good", GOOD, detector={"weights": TRAINED})
    page = rendered(store, tmp_path / "out")
    ((_, _, row),) = page.boards()
    assert row[-1] == f"complete random backbone {FEW.format(0)}"
    for told in (
        f"backbone random · style w.pt, sha256 {'ef' * 32}, unverified",
        f"calls (2,580 trials, digest {('ab' * 32)[:12]}), watched (7 trials, digest {('12' * 32)[:12]})",
        "0123456789ab",
    ):
        assert told in page.text
    titles = {title for title in page.values("title") if "random weights" in title}
    assert titles == {
        "the training of backbone began with random weights: its numbers show that the harness works, and nothing "
        "of the published detector"
    }


def seeds(store: Store, scores: Mapping[int, Sequence[float]], detector: str = "det") -> None:
    """The cells of several seeds, resolved as a run does."""
    for seed, found in scores.items():
        made = {"weights": {**TRAINED, "seed": seed, "start": {}}, "recipe": {"seed": min(scores)}}
        put(store, detector, found, detector=made, key=str(seed) * 64)
    cells = {cell.manifest["detector"]["weights"]["seed"]: cell for cell in store.pair("set", detector)}
    store.resolve_band(cells)


def test_several_seeds_are_one_row_with_their_mean(store: Store, tmp_path: Path) -> None:
    """Ranked by it, beside best and worst; what is of one seed alone says so; the details have them all."""
    seeds(store, {3: FAIR, 4: GOOD, 5: GOOD})
    put(store, "bad", FAIR)
    put(store, "good", GOOD)
    page = rendered(store, tmp_path / "out")
    ((_, _, *rows),) = page.boards()
    assert [row[1].split()[2] for row in rows] == ["good", "det", "bad"]
    assert [row[0] for row in rows] == ["1", "1", "1"]
    assert rows[1][2] == "11.11 mean of 3 seeds best 0.00, worst 33.33"
    assert (rows[1][5], rows[1][-1]) == ("0.8889 seed 3", f"complete {FEW.format(1)}")
    (table,) = (table for table in page.tables if table[0][0].startswith("Seeds: "))
    assert table[0] == ["Seeds: mean of 3 seeds, best 0.00, worst 33.33, standard deviation 19.25"]
    assert [row[:2] for row in table[2:]] == [["3", "33.333"], ["4", "0.000"], ["5", "0.000"]]
    assert f"All that follows is of the cell {'3' * 12} alone." in page.text


def test_a_seed_without_a_number_leaves_the_row_alone(store: Store, tmp_path: Path) -> None:
    """The row is that of one seed and says so; the details say why the other has no number."""
    seeds(store, {3: FAIR, 4: (NAN, *GOOD[1:])})
    page = rendered(store, tmp_path / "out")
    ((_, _, row),) = page.boards()
    assert row[2] == "33.33"
    assert row[-1] == f"complete seed 3 alone, no mean of 2 seeds: seed 4 is incomplete {FEW.format(1)}"
    (table,) = (table for table in page.tables if table[0][0].startswith("Seeds: "))
    assert table[-1][3].startswith(f"{'4' * 12} incomplete: 1 of 6 files could not be scored; t0.wav: not audio")
    seeds(store, {5: (NAN, *GOOD[1:]), 6: GOOD}, detector="first")
    (unmeasured,) = (table for table in rendered(store, tmp_path / "out").tables if table[1][1] == "Status")
    assert unmeasured[2][1].split(maxsplit=1) == ["incomplete", "no mean of 2 seeds: seed 5 is incomplete"]


def test_published_numbers_have_their_own_column(store: Store, tmp_path: Path) -> None:
    """Only numbers of this dataset are shown, with source and note; they move no rank."""
    published = [
        {"dataset": "set", "eer": 0.01, "f1": None, "source": "Table 3", "note": "all phases"},
        {"dataset": "other", "eer": 77.7, "f1": None, "source": "Table 4", "note": ""},
    ]
    put(store, "fair", FAIR, detector={"published": published})
    put(store, "good", GOOD)
    page = rendered(store, tmp_path / "out")
    ((_, header, first, second),) = page.boards()
    column = header.index("Published EER % (by others, not ours)")
    assert (first[1].split()[2], first[column]) == ("good", "–")
    assert (second[2], second[column].partition(": ")[0], second[column][-21:]) == (
        "33.33",
        "0.01 reproduced",
        "; Table 3; all phases",
    )
    assert "77.7" not in page.text


def test_a_published_number_of_another_list_says_so(store: Store, tmp_path: Path) -> None:
    """A published number stands beside a cell on another list with the reason why it is not compared."""
    published = [{"dataset": "set", "eer": 0.83, "f1": None, "source": "the paper", "note": ""}]
    put(store, "good", GOOD, dataset="set:6", detector={"published": published})
    ((_, header, row),) = rendered(store, tmp_path / "out").boards()
    column = header.index("Published EER % (by others, not ours)")
    assert row[column] == "0.83 not comparable because ours is over a sample of 6 trials; the paper"


def test_a_dataset_is_described_once(store: Store, tmp_path: Path) -> None:
    """What the corpus is, and what to mind, stands above its boards, however many trial lists it has."""
    put(store, "good", GOOD)
    put(store, "fair", FAIR, trials=trial_list("u"))
    text = rendered(store, tmp_path / "out").text
    assert text.count("Six trials. They are <made up>.") == 1


def test_warnings_of_the_list_are_shown(store: Store, tmp_path: Path) -> None:
    """A list that differs from the published counts says so under its board."""
    put(store, "good", GOOD)
    assert "not the published" not in rendered(store, tmp_path / "out").text
    put(store, "other", GOOD, dataset="differs", warnings=["6 trials, not the published 7"])
    assert "6 trials, not the published 7" in rendered(store, tmp_path / "out").text


def test_an_import_that_tells_nothing_is_shown(store: Store, tmp_path: Path) -> None:
    """A manifest without timings, title and licence gives dashes and the bare name, not an error."""
    put(store, "bare", GOOD, detector={"title": None, "family": None, "licence": None}, imported=True, timings={})
    ((_, _, row),) = rendered(store, tmp_path / "out").boards()
    assert (row[1], row[-2]) == ("bare held-out imported", "–")


def hostile(store: Store, text: str) -> None:
    """`text` in every place a user or a card can fill."""
    published = [{"dataset": text, "eer": 1.0, "f1": None, "source": text, "note": text}]
    made = {"name": text, "digest": "ab" * 32, "trials": 1, "warnings": [text]}
    origin = {"recipe_key": text, "start": {text: "random"}, "lists": [made]}
    weights = {"file": text, "sha256": text, "verified": False, "licence": text, "source": text, **origin}
    told = {"title": text, "family": text, "licence": text, "summary": text, "paper": text, "code": text}
    decision = {"column": "score", "threshold": 0.0}
    put(
        store,
        text,
        GOOD,
        dataset=text,
        trials=trial_list(attack=text),
        detector={**told, "published": published, "weights": weights, "decision": decision, "notes": [text]},
        versions={text: text},
    )
    store.block(text, "absent", text, text)


def test_a_name_is_text_and_never_markup(store: Store, tmp_path: Path) -> None:
    """Script tags and quotes in every field come out as the text they are: same elements as with a plain name."""
    hostile(store, SCRIPT)
    page = rendered(store, tmp_path / "out")
    plain = Store(tmp_path / "plain")
    hostile(plain, "plain")
    expected = rendered(plain, tmp_path / "plain-out")
    assert [(tag, list(attrs)) for tag, attrs in page.elements] == [
        (tag, list(attrs)) for tag, attrs in expected.elements
    ]
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count(SCRIPT) == expected.text.count("plain") >= 20


@settings(max_examples=25, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12))
@example(text="methods")
@example(text="methods-title")
@example(text="a b")
def test_any_name_survives_the_page(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever the characters, the page is balanced, every id is unique and every local link finds its target."""
    folder = tmp_path_factory.mktemp("any")
    store = Store(folder / "results")
    hostile(store, text)
    page = rendered(store, folder / "out")
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert not [name for name in ids if " " in name]
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)
    assert {name for names in page.values("aria-labelledby") for name in names.split()} <= set(ids)
    assert text in page.text


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("https://example.org/a?b=1", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.org", False),
        ("see https://example.org", False),
    ],
)
def test_only_web_addresses_become_links(store: Store, tmp_path: Path, text: str, linked: bool) -> None:
    """A card's text is a link only when it is an http(s) address and nothing else."""
    put(store, "good", GOOD, detector={"paper": text})
    assert (text in rendered(store, tmp_path / "out").values("href")) is linked


def test_the_page_is_still_and_accessible(store: Store, tmp_path: Path) -> None:
    """No script, inline style or foreign resource, and a policy that forbids them; captions, scopes, scroll regions."""
    hostile(store, "plain")
    out = tmp_path / "out"
    page = rendered(store, out)
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "style", "img", "iframe", "form", "object"} & set(tags)
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"]
    (policy,) = (attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src ")
    assert "unsafe" not in policy and "script" not in policy
    assert [attrs["href"] for tag, attrs in page.elements if tag == "link"] == ["style.css"]
    assert tags.count("caption") == tags.count("table")
    assert {attrs.get("scope") for tag, attrs in page.elements if tag == "th"} == {"col", "row"}
    regions = [attrs for _, attrs in page.elements if attrs.get("class") == "scroll"]
    assert regions
    assert {(attrs.get("tabindex"), attrs.get("role")) for attrs in regions} == {("0", "region")}


def test_the_same_store_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """Two writes, one over an older page, leave exactly the page and its style sheet, byte for byte."""
    hostile(store, "plain")
    put(store, "good", GOOD)
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    (second / "index.html").write_text("older")
    for out in (first, second):
        assert report.write(store, out) == out / "index.html"
        assert sorted(file.name for file in out.iterdir()) == ["index.html", "style.css"]
    for name in ("index.html", "style.css"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert str(tmp_path) not in (first / "index.html").read_text(encoding="utf-8")


def test_an_empty_store_says_what_to_run(store: Store, tmp_path: Path) -> None:
    """Without any cell the page names the commands that make some."""
    page = rendered(store, tmp_path / "out")
    assert "This store holds no cell yet. bench run --detectors all --datasets itw makes some" in page.text


def test_a_folder_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    """An output folder below a file is refused with its path and the option to change."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the report: cannot be written") as caught:
        report.write(store, tmp_path / "file" / "out")
    assert str(tmp_path / "file" / "out") in str(caught.value.where)
    assert caught.value.remedy == "choose a folder you may write to with --out"


@pytest.mark.parametrize(("speed", "shown"), [(1234.4, "1,234"), (0.44, "0.44"), (None, "–")])
def test_a_slow_detector_is_not_told_as_zero(store: Store, tmp_path: Path, speed: float | None, shown: str) -> None:
    """Below ten seconds of audio a second two decimals are shown; without a measurement a dash."""
    put(store, "good", GOOD, timings={"audio_seconds_per_second": speed})
    ((_, header, row),) = rendered(store, tmp_path / "out").boards()
    assert row[header.index("Audio seconds/s")] == shown
