"""Detectors fused on a development set: the scores, what is stored of them, and every refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from click.testing import CliRunner

from bench import fusion, report, results
from bench.cli import main
from bench.det import Floats
from bench.errors import BenchError, Blocked, DataError, UsageError
from bench.fusion import Fused, Fusion
from bench.store import Cell, Store
from bench.workspace import Options, Workspace
from tests.stores import NAN, gaussian, put_classes

DEV, TEST = "asvspoof2019-la-dev", "itw"


@pytest.fixture(scope="module")
def scored_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two detectors whose errors are independent, on a development set and on another dataset."""
    store = Store(tmp_path_factory.mktemp("scored"))
    for number, detector in enumerate(("aasist", "rawnet2-la")):
        card = {"trained_on": ["asvspoof2019-la-train"], "weights": {"licence": "MIT", "verified": True}}
        for place, dataset in enumerate((DEV, TEST)):
            sides = gaussian(10 * number + place, counts=(80, 120))
            put_classes(store, detector, dataset, *sides, scorer=detector, card=card, leakage="held-out")
    return store.root


@pytest.fixture
def store(scored_before: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(scored_before, tmp_path / "results")))


@pytest.fixture(scope="module")
def crowded(scored_before: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Beside the two detectors those that cannot be fused with them; nothing may be written here."""
    store = Store(Path(shutil.copytree(scored_before, tmp_path_factory.mktemp("crowded") / "results")))
    counts = (80, 120)
    put_classes(store, "ours", TEST, *gaussian(5, counts=counts))
    put_classes(store, "short", DEV, [NAN, *gaussian(5, counts=counts)[0][1:]], gaussian(5, counts=counts)[1])
    put_classes(store, "twin", DEV, *gaussian(0, counts=counts))
    put_classes(store, "listed", DEV, *gaussian(0))
    members = {n: put_classes(store, "seeds", DEV, *gaussian(n, counts=counts), scorer=f"seed {n}") for n in (1, 2)}
    store.resolve_band(members)
    return store


def fuse(
    store: Store, detectors: str = "aasist,rawnet2-la", dev: str = DEV, datasets: str = TEST, name: str | None = None
) -> tuple[Fusion, list[Fused]]:
    return fusion.fuse(Workspace(Options(results=store.root)), [detectors], dev, [datasets], name)


def one(store: Store, **options: Any) -> Cell:
    _, (outcome,) = fuse(store, **options)
    assert outcome.cell is not None, outcome.reason
    return outcome.cell


def test_fused_scores_are_those_of_an_independent_optimiser(store: Store) -> None:
    """The members' scores, times slopes that a search without derivatives finds on the development set."""
    there = np.stack([scores_of(store, name, DEV) for name in ("aasist", "rawnet2-la")])
    signs = np.where(np.arange(there.shape[1]) < 80, -1, 1)
    share = np.where(signs < 0, 80, 120)

    def cost(x: Floats) -> float:
        return float((np.log1p(np.exp(signs * (x[:2] @ there + x[2]))) / share).sum())

    options = {"xatol": 1e-10, "fatol": 1e-15, "maxiter": 5_000}
    best = scipy.optimize.minimize(cost, [0.0, 0.0, 0.0], method="Nelder-Mead", options=options).x
    cell = one(store)
    here = np.stack([scores_of(store, name, TEST) for name in ("aasist", "rawnet2-la")])
    np.testing.assert_allclose(cell.scores()["score"], best[:2] @ here + best[2], atol=1e-5)


def scores_of(store: Store, detector: str, dataset: str) -> Floats:
    cell = store.current_of(dataset, detector)
    assert cell is not None
    return cell.scores()["score"].to_numpy(dtype=np.float64)


def test_a_fusion_is_a_row_of_its_own(store: Store, tmp_path: Path) -> None:
    """Tables and page show it beside its members, and independent errors make it better than both."""
    one(store)
    rows = results.collect(store, datasets=[TEST], breakdowns=False)
    first, *others = (row.cell.detector for row in rows)
    assert (first, sorted(others)) == ("aasist+rawnet2-la", ["aasist", "rawnet2-la"])
    page = report.write(store, tmp_path / "site").index.read_text()
    assert "Fusion of aasist and rawnet2-la" in page


def test_the_manifest_tells_where_it_comes_from(store: Store) -> None:
    """Members with keys and slopes, the development set, what was seen, licences: what a careful reader asks for."""
    manifest = one(store).manifest
    keys = {
        name: [cell.key for dataset in (DEV, TEST) if (cell := store.current_of(dataset, name)) is not None]
        for name in ("aasist", "rawnet2-la")
    }
    told = manifest["fusion"]
    assert {member["detector"]: [member["dev_key"], member["key"]] for member in told["members"]} == keys
    assert told["dev"]["name"] == DEV
    assert all(member["slope"] > 0 for member in told["members"])
    assert np.isfinite(told["offset"])
    detector = manifest["detector"]
    assert (detector["name"], detector["family"], detector["licence"]) == ("aasist+rawnet2-la", "fusion", "MIT")
    assert (detector["trained_on"], detector["selected_on"]) == (["asvspoof2019-la-train", DEV], [])
    assert (detector["scores"], detector["decision"]) == ("log-odds", {"column": "score", "threshold": 0.0})
    assert (manifest["imported"], manifest["leakage"], manifest["dataset"]["name"]) == (False, "held-out", TEST)
    assert detector["summary"].endswith(f", log-odds fitted on {DEV} (200 trials).")


def test_the_same_command_again_does_nothing(store: Store) -> None:
    """The cell is found by its key, whatever the order of the names; no byte of a cell changes."""
    cell = one(store)
    before = {file: file.read_bytes() for file in store.root.rglob("*/*/*/*") if file.is_file()}
    _, (outcome,) = fuse(store, "rawnet2-la, aasist")
    assert (outcome.state, outcome.cell and outcome.cell.key) == ("done", cell.key)
    assert {file: file.read_bytes() for file in store.root.rglob("*/*/*/*") if file.is_file()} == before
    assert before


def test_a_new_score_of_a_member_is_a_new_fusion(store: Store) -> None:
    """The key knows the members' scores there and here; the newest fusion is the one that counts."""
    first = one(store)
    sides = gaussian(99, counts=(80, 120))
    store.resolve(TEST, "aasist", put_classes(store, "aasist", TEST, *sides, scorer="aasist").key)
    second = one(store)
    assert second.key != first.key
    store.resolve(DEV, "aasist", put_classes(store, "aasist", DEV, *sides, scorer="aasist").key)
    third = one(store)
    assert third.key not in (first.key, second.key)
    current = store.current_of(TEST, third.detector)
    assert current is not None
    assert current.key == third.key


def test_globs_leave_fusions_and_the_development_set_out(store: Store) -> None:
    """`all` is the same command before and after: a fusion is no member of the next, and the dev set is not scored."""
    for state in ("fused", "done"):
        fitted, outcomes = fuse(store, "*", datasets="all")
        assert list(fitted.members) == ["aasist", "rawnet2-la"]
        assert [(outcome.dataset, outcome.state) for outcome in outcomes] == [(TEST, state)]


@pytest.mark.parametrize(
    ("seen", "dataset", "verdict"),
    [
        (("held-out", "held-out"), "itw", "held-out"),
        (("held-out", "unknown"), "itw", "unknown"),
        (("unknown", "seen"), "itw", "seen"),
        (("held-out", "held-out"), "asvspoof2019-la", "in-domain"),
        (("held-out", "held-out"), f"{DEV}:50", "seen"),
        (("held-out", None), "itw", "unknown"),
    ],
)
def test_it_has_seen_what_its_members_and_its_fit_saw(
    tmp_path: Path, seen: tuple[str, str | None], dataset: str, verdict: str
) -> None:
    """The worst of the members' badges, and of what the development set is to the dataset."""
    store = Store(tmp_path)
    for number, word in enumerate(seen):
        put_classes(store, f"d{number}", DEV, *gaussian(number))
        told: dict[str, Any] = {"leakage": word} if word else {}
        put_classes(store, f"d{number}", dataset, *gaussian(number + 5), **told)
    assert one(store, detectors="d*", datasets=dataset).manifest["leakage"] == verdict


def test_terms_and_doubts_of_the_members_are_its_own(store: Store) -> None:
    """Licences and notices are joined; one unverified checkpoint, random start or import marks the whole."""
    head = {"file": "x", "sha256": "y", "verified": True}
    weights = {"licence": "CC-BY-NC-4.0", "verified": False, "start": {"backbone": "random", "head": head}}
    card = {"licence": "Apache-2.0", "notices": ["patented"], "weights": weights, "scores": "log-probability"}
    for seed, dataset in enumerate((DEV, TEST)):
        put_classes(store, "third", dataset, *(side - 9 for side in gaussian(seed, counts=(80, 120))), card=card)
        put_classes(store, "ours", dataset, *gaussian(seed + 30, counts=(80, 120)), scorer=None)
    fitted, (outcome,) = fuse(store, "aasist,third")
    assert outcome.cell is not None
    found = results.evaluate_cell(store, outcome.cell)
    detector = outcome.cell.manifest["detector"]
    assert (detector["licence"], detector["notices"]) == ("MIT; Apache-2.0", ["patented"])
    assert detector["weights"]["licence"] == "MIT; CC-BY-NC-4.0"
    assert (found.weights, found.random_parts) == ("unverified", ("backbone of third",))
    assert " log-odds(third), log-odds fitted on " in fitted.told
    mixed = one(store, detectors="aasist,ours").manifest
    assert (mixed["imported"], mixed["scorer"]) == (True, None)


def test_its_scorer_is_the_same_on_every_dataset(store: Store) -> None:
    """Carried thresholds and comparisons rest on it: it depends on the fit, not on what is scored."""
    for detector in ("aasist", "rawnet2-la"):
        put_classes(store, detector, "other", *gaussian(len(detector)), scorer=detector)
    _, outcomes = fuse(store, datasets="other,itw")
    scorers = {outcome.cell.manifest["scorer"] for outcome in outcomes if outcome.cell}
    assert len(outcomes) == 2
    assert len(scorers) == 1
    assert None not in scorers


@pytest.mark.parametrize(
    ("options", "kind", "what"),
    [
        ({"detectors": "aasist"}, UsageError, "aasist alone is no fusion"),
        ({"detectors": "aasist,rawnet"}, UsageError, "no stored detector is called 'rawnet'"),
        ({"dev": "asvspoof2019-dev"}, UsageError, "no stored dataset is called 'asvspoof2019-dev'"),
        ({"datasets": "itw2"}, UsageError, "no stored dataset is called 'itw2'"),
        ({"datasets": f"itw,{DEV}"}, UsageError, f"a fusion that is fitted on {DEV} is not scored on it"),
        ({"name": "xlsr-sls"}, UsageError, "xlsr-sls is a detector of its own"),
        ({"name": "ours"}, UsageError, "under ours other scores than a fusion's are stored"),
        ({"name": "a b"}, UsageError, "'a b' cannot be a name"),
        ({"detectors": "aasist,ours"}, Blocked, f"ours has no cell on {DEV}"),
        ({"detectors": "aasist,short"}, Blocked, f"short on {DEV} is incomplete"),
        ({"detectors": "aasist,twin"}, DataError, "the scores of twin follow from those of aasist"),
        (
            {"detectors": "aasist,seeds"},
            DataError,
            f"seeds on {DEV} has several seeds (1, 2): a fusion is of single trai",
        ),
        (
            {"detectors": "aasist,listed"},
            DataError,
            f"the members were scored on different trial lists called {DEV}: aasist ",
        ),
    ],
)
def test_refused_as_a_whole(crowded: Store, options: dict[str, str], kind: type[BenchError], what: str) -> None:
    """What cannot be fitted or named is refused before anything is stored, with the reason and a remedy."""
    before = sorted(crowded.root.rglob("*"))
    with pytest.raises(kind) as error:
        fuse(crowded, **options)
    assert error.value.what.startswith(what)
    assert error.value.remedy
    assert sorted(crowded.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, f"aasist on {DEV} is another scorer than on other: weights, audio recipe, version or precision differ"),
        (
            {"scorer": "aasist", "prefix": "elsewhere"},
            "the members were scored on different trial lists called other: ",
        ),
        (
            {"scorer": "aasist", "card": {"scores": "log-probability"}},
            "the form of the scores is unknown on the development set, log-probability on other",
        ),
    ],
)
def test_one_dataset_is_refused(store: Store, changed: dict[str, Any], reason: str) -> None:
    """A dataset on which the members do not fit together is told with the reason; the others are fused."""
    put_classes(store, "rawnet2-la", "other", *gaussian(1), scorer="rawnet2-la")
    put_classes(store, "aasist", "other", *gaussian(2), **changed)
    _, outcomes = fuse(store, datasets="itw,other")
    assert [(outcome.dataset, outcome.state) for outcome in outcomes] == [("itw", "fused"), ("other", "refused")]
    assert outcomes[1].cell is None
    assert outcomes[1].reason.startswith(reason)


def command(store: Store, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["fuse", *arguments, "--dev", DEV, "--results", str(store.root)])
    return done.exit_code, done.output


def test_a_score_without_log_odds(store: Store) -> None:
    """A log-probability that underflowed is told with the detector and the dataset that have it."""
    softmax = {"scores": "log-probability"}
    bonafide, spoof = (side - 9 for side in gaussian(3, counts=(80, 120)))
    put_classes(store, "third", DEV, bonafide, spoof, card=softmax)
    put_classes(store, "third", TEST, [0.0, *bonafide[1:]], spoof, card=softmax)
    _, (outcome,) = fuse(store, "aasist,third")
    assert outcome.reason.startswith("1 of 200 scores are 0: p is so near 1 that ln p underflowed")
    assert outcome.reason.endswith(f"(third on {TEST})")


@pytest.mark.usefixtures("elsewhere")
def test_the_command(store: Store) -> None:
    """It prints the formula and the row beside its members; a dataset asked for by name and refused is exit 1."""
    put_classes(store, "aasist", "other", *gaussian(2), scorer="aasist")
    code, text = command(store, "aasist", "rawnet2-la", "--datasets", "all", "--name", "both")
    assert code == 0
    assert text.startswith("both = ")
    assert "both on other: refused: rawnet2-la has no cell on other" in text
    code, text = command(store, "aasist,rawnet2-la", "--datasets", "itw,other", "--name", "both", "--json")
    told = json.loads(text)
    assert code == 1
    shown = sorted((cell["detector"], cell["dataset"]) for cell in told["cells"])
    assert shown == [("aasist", "itw"), ("both", "itw"), ("rawnet2-la", "itw")]
    assert [member["detector"] for member in told["fusion"]["members"]] == ["aasist", "rawnet2-la"]
    assert told["refused"][0]["reason"] == "rawnet2-la has no cell on other"
    assert command(store, "aasist,rawnet2-la", "--datasets", DEV)[0] == 2
