"""The page of a cell: its numbers, its worst errors, and that no name can break out of it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench import corpora, embeddings, registry, results, scored
from bench.files import write_parquet
from bench.report import cell_page, places
from bench.report.audible import Recordings
from bench.report.measured import Measured, draw
from bench.report.neighbours import neighbours
from bench.report.site import Site
from bench.report.tables import Files
from bench.slices import Draws, measured
from bench.store import Cell, Store
from tests.pages import Page
from tests.stores import NAN, put, trial_list

SCRIPT = "<script>alert('x')</script>&amp;\"'/\\é"
TRAINED = {"file": "w", "sha256": "cd" * 32, "verified": True, "trained": True, "recipe_key": "0123", "lists": []}


def trials(attacks: tuple[str, str] = ("A01", "A02"), speaker: str = "ann") -> pd.DataFrame:
    """24 trials, half of each class, of two speakers and two attacks."""
    ids = [*(f"b{n}" for n in range(12)), *(f"s{n}" for n in range(12))]
    speakers = [speaker if n % 2 else "bob" for n in range(24)]
    return trial_list(ids, attack=[""] * 12 + [attacks[n % 2] for n in range(12)], speaker=speakers)


def scores(table: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Noisy ones: bona fide higher."""
    noise = np.random.default_rng(seed).normal(size=len(table))
    return dict(zip(table["trial"], (noise + (table["label"] == "bonafide") * 1.2).tolist(), strict=True))


def built(store: Store, cell: Cell, site: Site | None = None, recordings: Recordings | None = None) -> Files:
    """As the build does it."""
    result = results.evaluate_cell(store, cell, breakdowns=False)
    found = scored.load(cell, scored.trial_lists(store)) if result.metrics else None
    drawn = (None, None) if found is None else (draw(found), Draws(found.trials))
    return cell_page.build(Measured(result, drawn[0]), found, drawn[1], recordings, site or Site())


def page(files: Files, dataset: str = "set", detector: str = "det") -> Page:
    return Page(files[places.cell(dataset, detector)])


def lines(text: str) -> str:
    return " ".join(text.split())


def table(files: Files, name: str, folder: str = "cells/set/det") -> list[dict[str, Any]]:
    """The rows of a table; CSV and JSON say the same."""
    rows: list[dict[str, Any]] = json.loads(files[f"{folder}/{name}.json"])["rows"]
    read = list(csv.DictReader(io.StringIO(files[f"{folder}/{name}.csv"].decode())))
    assert [[str("" if value is None else value) for value in row.values()] for row in rows] == [
        [value.removeprefix("'") for value in row.values()] for row in read
    ]
    return rows


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_the_numbers_of_a_cell(store: Store) -> None:
    """Headline, tables at both thresholds, slices with their intervals; the files beside the page have them in full."""
    table_of = trials()
    decision = {"column": "score", "threshold": 0.5}
    cell = put(store, table_of, scores(table_of), decision=decision, made={"title": "The <Net>"}, leakage="held-out")
    files = built(store, cell)
    result, found = results.evaluate_cell(store, cell), scored.load(cell, scored.trial_lists(store))
    assert result.metrics is not None and result.native is not None and result.uncertainty is not None
    shown, eer = page(files), f"{100 * result.metrics['eer']:.2f}"
    assert f"EER {eer} % (95 % interval {result.uncertainty.interval('eer').told})" in lines(shown.text)
    at_eer, own, _, attacks, speakers = shown.tables
    assert at_eer[1] == ["EER %", f"{100 * result.metrics['eer']:.3f}"]
    assert own[0] == ["At the detector’s own threshold: score > 0.5"]
    assert own[1] == ["Bona fide rejected (FRR) %", f"{100 * result.native['frr']:.3f}"]
    for name, rows in (("attack", attacks), ("speaker", speakers)):
        expected = sorted(measured(found, name, Draws(found.trials)), key=lambda one: -(one.eer or 0))
        told = [
            [one.value, f"{100 * (one.eer or 0):.2f}", one.interval.told if one.interval else "–"] for one in expected
        ]
        assert [row[:3] for row in rows[1:]] == told
        beside = [(row["value"], row["eer"], row["eer_low"], row["n_spoof"]) for row in table(files, f"eer-by-{name}")]
        assert beside == [(one.value, one.eer, one.interval and one.interval.low, one.n_spoof) for one in expected]
    numbers = {(row["of"], row["measure"]): row["value"] for row in table(files, "numbers")}
    assert numbers["cell", "auc"] == result.metrics["auc"]
    assert numbers["own threshold", "threshold"] == 0.5
    assert {"det", "scores", "by-attack", "by-speaker"} <= set(shown.values("id"))
    assert "scores.csv.gz" not in {posixpath.basename(name) for name in files}


def test_the_worst_errors_are_cards(store: Store) -> None:
    """Each with score, distance, attack and speaker; how many there are in all is said."""
    table_of = trials()
    given = scores(table_of) | {"s3": 9.0, "b4": -7.25}
    files = built(store, put(store, table_of, given))
    shown = page(files)
    text = lines(shown.text)
    found = results.evaluate_cell(store, next(iter(store.cells()))).metrics
    assert found is not None
    threshold = found["eer_threshold"]
    assert f"s3 Score 9, {9 - threshold:.4g} from the threshold attack A02 speaker ann Duration 1.00 s" in text
    assert f"b4 Score -7.25, {threshold + 7.25:.4g} from the threshold speaker bob" in text
    rows = table(files, "errors")
    accepts = [row for row in rows if row["kind"] == "false accept"]
    assert (accepts[0]["trial"], accepts[0]["score"], accepts[0]["trial_attack"]) == ("s3", 9.0, "A02")
    assert f"{len(accepts)} of 12 spoofed trials are accepted as bona fide" in text
    assert "This report was made without audio." in text
    assert not {"audio", "img"} & {tag for tag, _ in shown.elements}


def test_scores_are_published_where_the_site_says_so(store: Store) -> None:
    """Every trial with label, score and extras, as compressed CSV, the same bytes each time."""
    table_of = trials()
    cell = put(store, table_of, scores(table_of), extras={"margin": [NAN, *map(float, range(23))]})
    first, second = (built(store, cell, Site(scores=True)) for _ in range(2))
    assert first == second
    read = list(csv.DictReader(io.StringIO(gzip.decompress(first["cells/set/det/scores.csv.gz"]).decode())))
    assert [(row["trial"], float(row["score"])) for row in read] == list(scores(table_of).items())
    assert [row["label"] for row in read] == table_of["label"].tolist()
    assert [row["margin"] for row in read[:3]] == ["", "0.0", "1.0"]
    assert "scores.csv.gz" in page(first).values("href")


def test_a_cell_without_numbers_says_why(store: Store) -> None:
    """The reason and what helps, without the folders of this machine; nothing else is claimed."""
    store.block("set", "det", "no file at /home/me/weights/w.pth", "get it from https://example.org/a/w.pth")
    (blocked,) = store.current()
    files = built(store, blocked)
    text = lines(page(files).text)
    assert "This cell has no numbers. No file at …/w.pth What helps: get it from https://example.org/a/w.pth" in text
    assert (list(files), page(files).tables) == (["cells/set/det/index.html"], [])


def test_part_of_the_trials_is_said(store: Store) -> None:
    """A cell that was run with `--allow-missing` has its caveat, and what could not be read."""
    table_of = trials()
    cell = put(store, table_of, scores(table_of) | {"b0": NAN}, allow_missing=True)
    text = lines(page(built(store, cell)).text)
    assert "over the scored trials only: 1 of 24 have no score. 1 of 24 files could not be scored;" in text
    assert "incomplete" in text


def test_several_seeds_are_told_together(store: Store) -> None:
    """The mean in the headline, every seed in a table, and that the rest is of one of them."""
    table_of = trials()
    for seed in (3, 4):
        weights = {"weights": {**TRAINED, "seed": seed}, "recipe": {"seed": 3}}
        put(store, table_of, scores(table_of, seed), made=weights, key=str(seed) * 64)
    store.resolve_band({cell.manifest["detector"]["weights"]["seed"]: cell for cell in store.pair("set", "det")})
    (cell,) = store.current()
    shown, found = page(built(store, cell)), results.evaluate_cell(store, cell)
    assert found.band is not None and found.band.eer is not None
    assert f"EER {100 * found.band.eer.mean:.2f} %" in shown.text
    assert "mean of 2 seeds" in shown.text
    assert [row[0] for row in shown.tables[0]] == [lines(shown.tables[0][0][0]), "Seed", "3", "4"]
    assert f"All that follows is of the cell {'3' * 12} alone, trained with seed 3." in lines(shown.text)


def test_a_manifest_that_tells_little_is_enough(store: Store) -> None:
    """Cells of older versions lack fields: their numbers are shown all the same."""
    table_of = trials()
    cell = put(store, table_of, scores(table_of), made={"published": [{"strange": 1}]})
    text = lines(page(built(store, cell)).text)
    assert "det on set leakage unknown EER" in text
    assert "the published numbers in the manifest cannot be read" in text


# What a detector gives beside its scores


def test_slim_shows_its_distance_by_class(store: Store) -> None:
    """The extra `mismatch` as a figure; no other extra is drawn."""
    table_of = trials()
    for name, drawn in (("mismatch", True), ("margin", False)):
        cell = put(store, table_of, scores(table_of), extras={name: np.linspace(0, 1, 24).tolist()}, detector=name)
        assert ("mismatch" in page(built(store, cell), detector=name).values("id")) is drawn


def test_embeddings_become_a_map(store: Store) -> None:
    """Where the cell keeps enough of them; a damaged file is said and takes nothing else away."""
    table_of = trials()
    cell = put(store, table_of, scores(table_of))
    assert cell.path is not None
    place = cell.path / embeddings.FILE
    rows = np.random.default_rng(0).normal(size=(24, 5))
    write_parquet(place, embeddings.table(table_of["trial"].tolist(), rows))
    assert "map" in page(built(store, cell)).values("id")
    write_parquet(place, embeddings.table(table_of["trial"].tolist()[:3], rows[:3]))
    assert "map" not in page(built(store, cell)).values("id")
    place.write_bytes(b"no parquet")
    shown = page(built(store, cell))
    assert "map" not in shown.values("id")
    assert "no map of the embeddings: not readable" in shown.text
    assert str(cell.path) not in shown.text
    assert len(shown.tables) == 4


def test_neighbours_stay_neighbours() -> None:
    """Two clusters are two on the map, and the same vectors give the same map; too few or equal ones give none."""
    draws = np.random.default_rng(0).normal(size=(40, 8))
    draws[:20] += 20
    found, again = neighbours(draws.tolist()), neighbours(draws.tolist())
    assert found is not None and again is not None
    np.testing.assert_array_equal(found, again)
    points = np.stack(found, axis=1)
    distance = np.linalg.norm(points[:, None] - points, axis=2) + np.diag(np.full(40, np.inf))
    assert ((distance.argmin(axis=1) < 20) == (np.arange(40) < 20)).all()
    for none in (draws[:9], np.ones((40, 8)), draws[:, :1], np.where(draws > 20, np.nan, draws)):
        assert neighbours(none.tolist()) is None


# Audio


def heard(store: Store, place: Path, says: str) -> tuple[Files, Recordings]:
    """The page of a corpus `calls` of eight files, one of which is no audio."""
    (place / "calls").mkdir()
    (place / "cards").mkdir()
    names = [f"{kind}{n}.wav" for kind in ("real", "fake") for n in range(4)]
    for number, name in enumerate(names):
        wave = 0.1 * np.sin(np.arange(8000) * (number + 1) / 20)
        soundfile.write(place / "calls" / name, wave, 16_000)
    (place / "calls" / "fake0.wav").write_text("<html>")
    rows = [f"{name},{name[:4]}" for name in names]
    (place / "calls" / "list.csv").write_text("\n".join(["path,label", *rows]))
    card = "name: calls\ntitle: The <Calls>\nsummary: s\nlicence: CC BY 4.0\npaper: https://example.org/p\nobtain: o\n"
    reader = "reader: bench.corpora.protocol_csv:read\narguments: {file: calls/list.csv}\n"
    (place / "cards" / "calls.yaml").write_text(card + reader + says)
    recordings = Recordings(place, {}, place / "cards")
    found = corpora.load(registry.datasets(place / "cards")["calls"], place).trials
    wrong = {trial: float(n < 4) * -1 for n, trial in enumerate(found["trial"])}
    return built(store, put(store, found, wrong, dataset="calls"), recordings=recordings), recordings


def test_errors_are_heard_and_seen_where_the_licence_allows(store: Store, tmp_path: Path) -> None:
    """Every player and picture has its file beside the page, and title, licence and source are named."""
    files, _ = heard(store, tmp_path, "redistributable: true\n")
    shown, folder = page(files, "calls"), "cells/calls/det"
    sources = {tag: [attrs["src"] for name, attrs in shown.elements if name == tag] for tag in ("audio", "img")}
    assert [len(sources["audio"]), len(sources["img"])] == [7, 7]
    assert {f"{folder}/{source}" for group in sources.values() for source in group} == {
        name for name in files if name.startswith(f"{folder}/audio/")
    }
    assert all(
        re.fullmatch(r"audio/[0-9a-f]{16}\.(wav|png)", str(source)) for group in sources.values() for source in group
    )
    assert {attrs.get("preload") for tag, attrs in shown.elements if tag == "audio"} == {"none"}
    text = lines(shown.text)
    assert "Audio: The <Calls>, licence CC BY 4.0, example.org/p." in text
    assert "File calls/fake0.wav cannot be played: no decoder reads this file" in text
    everyone = {f"calls/{kind}{n}.wav" for kind in ("real", "fake") for n in range(4)}
    assert {row["path"] for row in table(files, "errors", folder)} == everyone
    assert str(tmp_path) not in text


def test_without_a_licence_the_file_is_named(store: Store, tmp_path: Path) -> None:
    """No player and no audio in the site, but the pictures."""
    files, _ = heard(store, tmp_path, "")
    shown = page(files, "calls")
    tags = [tag for tag, _ in shown.elements]
    assert (tags.count("audio"), tags.count("img")) == (0, 7)
    assert {posixpath.splitext(name)[1] for name in files} == {".html", ".csv", ".json", ".png"}
    assert (
        "No audio: nothing says that the licence of The <Calls> (CC BY 4.0) allows copies on a public page. The file "
        "of each trial is named instead."
    ) in lines(shown.text)
    assert "File calls/real0.wav" in lines(shown.text)


def test_a_corpus_that_is_not_here_leaves_the_ids(store: Store, tmp_path: Path) -> None:
    """Another list under the name, or none at all: the sentence says which."""
    table_of = trials()
    text = lines(page(built(store, put(store, table_of, scores(table_of)), recordings=Recordings(tmp_path))).text)
    assert "No audio: set has no card, so nothing says that its audio may be published." in text
    _, recordings = heard(store, tmp_path, "redistributable: true\n")
    cell = put(store, table_of, scores(table_of), dataset="calls", detector="other")
    text = lines(page(built(store, cell, recordings=recordings), "calls", "other").text)
    assert re.search(
        r"No audio: the calls here has another trial list \(digest \w{12}\) than these scores \(\w{12}\)\.", text
    )


# Hostile names


def hostile(store: Store, text: str) -> Files:
    """`text` in every place that a user, a card or a corpus can fill."""
    table_of = trials((text, "A02"), text)
    table_of["trial"] = table_of["trial"] + text.replace("\n", " ")
    published = [{"dataset": text, "eer": 1.0, "source": text, "note": text}]
    weights = {"file": text, "sha256": text, "verified": False, "licence": text, "source": text}
    told: Mapping[str, Any] = dict.fromkeys(("title", "family", "licence", "summary", "paper", "code"), text)
    made = {**told, "weights": weights, "notes": [text], "notices": [text], "published": published}
    table_of[text] = ["x", "y"] * 12
    versions = {text: text}
    cell = put(store, table_of, scores(table_of), made=made, detector=text, dataset=text, versions=versions)
    return built(store, cell)


def test_a_name_is_text_and_never_markup(store: Store, tmp_path: Path) -> None:
    """Whatever is in a name, the page has the elements of a page with plain names, and says the name."""
    files, plain = hostile(store, SCRIPT), hostile(Store(tmp_path / "plain"), "plain")
    shown, expected = page(files, SCRIPT, SCRIPT), page(plain, "plain", "plain")

    def elements(one: Page) -> list[tuple[str, list[str]]]:
        drawing = {"svg", "g", "path", "text", "tspan", "line", "rect", "defs", "clippath"}
        return [(tag, list(attrs)) for tag, attrs in one.elements if tag not in drawing]

    assert elements(shown) == elements(expected)
    assert shown.text.count(SCRIPT) >= 20
    assert not [name for name in files if not re.fullmatch(r"[a-z0-9./-]+", name)]
    assert not [name for _, attrs in shown.elements for name in attrs if name.startswith("on") or name == "style"]
    assert len(shown.values("id")) == len(set(shown.values("id")))
    names = {name for names in shown.values("aria-labelledby") for name in names.split()}
    assert names <= set(shown.values("id"))
