"""`bench check` end to end: score files of a detector are imported, accepted, changed, and checked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click.testing
import junitparser
import numpy as np
import pytest

from bench import accepted, cli, imports
from bench.store import Store
from bench.trials import BONAFIDE, SPOOF
from bench.workspace import Options, Workspace
from tests.tiny import World

pytestmark = pytest.mark.usefixtures("elsewhere")

COUNT = 5_000  # trials of each class: one is 0.02 % of them
DRAWS = np.random.default_rng(0)
SCORES = np.concatenate((DRAWS.normal(2, 1, COUNT), DRAWS.normal(-1, 1, COUNT)))


def bench(*arguments: object) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.main, [str(argument) for argument in arguments], catch_exceptions=False)


def put(scores: np.ndarray, detector: str = "ours", count: int = COUNT) -> Path:
    """Import a score file of a detector on a CSV list of so many trials of each class; the folder of the cell."""
    trials = [(f"t{n}", BONAFIDE) for n in range(count)] + [(f"t{COUNT + n}", SPOOF) for n in range(count)]
    Path("calls.csv").write_text("path,trial,label\n" + "".join(f"{t}.wav,{t},{label}\n" for t, label in trials))
    kept = np.r_[:count, COUNT : COUNT + count]
    Path("scores.txt").write_text(
        "".join(f"{t} {s!r}\n" for (t, _), s in zip(trials, scores[kept].tolist(), strict=True))
    )
    workspace = Workspace(Options(data={"calls": Path("calls.csv")}, results=Path("results")), make=True)
    cell, _ = imports.import_scores(workspace, Path("scores.txt"), detector, "calls")
    assert cell.path is not None
    return cell.path


def verdicts(*arguments: object, code: int) -> dict[str, str]:
    """Verdicts by detector, of a check that exits so."""
    checked = bench("check", "--json", *arguments)
    assert checked.exit_code == code, checked.output
    found = json.loads(checked.stdout)
    assert found["passed"] == (code == 0)
    return {one["detector"]: one["verdict"] for one in found["verdicts"]}


@pytest.fixture(scope="module")
def scored_and_accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one detector, scored and accepted."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("accepted")
        patch.chdir(place)
        put(SCORES)
        done = bench("check", "--accept", "--leaderboard", "leaderboard.yml", "--results", "results")
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("ours on calls: new: 6.4000 %\naccepted 1 of 1 in leaderboard.yml\n")
    return place


@pytest.fixture
def ours(elsewhere: Path, scored_and_accepted: Path) -> None:
    """One detector, scored and accepted."""
    shutil.copytree(scored_and_accepted, elsewhere, dirs_exist_ok=True)


@pytest.mark.usefixtures("ours")
class TestVerdicts:
    def test_an_unchanged_store(self) -> None:
        """Identical, and exit status 0."""
        assert verdicts(code=0) == {"ours": "identical"}

    def test_worse_by_noise(self) -> None:
        """0.02 percentage points are within the tolerance: equivalent, and the other key is told."""
        put(SCORES + np.random.default_rng(26).normal(0, 0.1, 2 * COUNT))
        checked = bench("check", "--json")
        (found,) = json.loads(checked.stdout)["verdicts"]
        assert (found["verdict"], checked.exit_code, found["notes"]) == ("equivalent", 0, ["other key"])
        assert round(found["change_pp"], 2) == 0.02

    def test_an_improvement(self) -> None:
        """No failure."""
        put(SCORES + np.where(np.arange(2 * COUNT) < COUNT, 0.3, 0))
        assert verdicts(code=0) == {"ours": "improved"}

    def test_a_flipped_sign(self) -> None:
        """Regressed, and exit status 1."""
        put(-SCORES)
        assert verdicts(code=1) == {"ours": "regressed"}

    def test_worse_without_accepted_scores(self) -> None:
        """The tolerance alone decides; one of this call replaces that of the file."""
        shutil.rmtree("reports")
        put(SCORES - np.where(np.arange(2 * COUNT) < COUNT, 0.1, 0))
        assert verdicts(code=1) == {"ours": "regressed"}
        assert verdicts("--tolerance", 2, code=0) == {"ours": "equivalent"}

    def test_dropped_trials(self) -> None:
        """Not comparable, and exit status 1."""
        put(SCORES, count=COUNT - 7)
        assert verdicts(code=1) == {"ours": "not comparable"}

    def test_a_missing_cell(self) -> None:
        """Exit status 1 while it is asked for; another one that nobody accepted is new."""
        put(SCORES, "theirs")
        shutil.rmtree("results/calls/ours")
        assert verdicts(code=1) == {"ours": "missing", "theirs": "new"}
        assert verdicts("-d", "th*", code=0) == {"theirs": "new"}

    def test_a_corrupted_score_file(self) -> None:
        """Invalid, and exit status 1, for the stored and for the accepted scores."""
        place = put(SCORES) / "scores.parquet"
        whole = place.read_bytes()
        place.write_bytes(whole[:-100])
        assert verdicts(code=1) == {"ours": "invalid"}
        place.write_bytes(whole)
        (kept,) = Path("reports").rglob("*.parquet")
        kept.write_bytes(b"")
        assert verdicts(code=1) == {"ours": "invalid"}

    def test_a_last_run_that_was_blocked(self) -> None:
        """The accepted scores are still stored, and the check fails."""
        Store(Path("results")).block("calls", "ours", "no weights", "fetch them")
        checked = bench("check")
        assert checked.exit_code == 1
        assert "the last run could not score it: no weights; what is stored is older" in checked.stdout
        assert bench("show").exit_code == 0

    def test_a_damaged_latest_json(self) -> None:
        """Invalid, and `bench show` goes on."""
        Path("results/calls/ours/latest.json").write_text("{")
        assert verdicts(code=1) == {"ours": "invalid"}
        shown = bench("show")
        assert (shown.exit_code, "failed" in shown.stdout) == (0, True), shown.output

    def test_accepting_what_is_there(self) -> None:
        """The file changes in its scalars alone, and the next check finds what was accepted."""
        text = "# ours\n" + Path("leaderboard.yml").read_text().replace("eer:", "eer:   ").replace("\n", "  # x\n")
        Path("leaderboard.yml").write_text(text)
        (before,) = accepted.read(Path("leaderboard.yml")).accepted
        put(-SCORES)
        done = bench("check", "--accept")
        assert (done.exit_code, done.stdout.splitlines()[-2:]) == (
            0,
            ["ours on calls: 6.4000 -> 93.6000 %, another key", "accepted 1 of 1 in leaderboard.yml"],
        )
        (now,) = accepted.read(Path("leaderboard.yml")).accepted
        assert Path("leaderboard.yml").read_text() == text.replace(before.key, now.key).replace(
            "eer:    6.4", "eer:    93.6"
        )
        assert verdicts(code=0) == {"ours": "identical"}

    def test_accepting_what_has_no_number(self) -> None:
        """Exit status 1, the reason, and the file as it was."""
        text = Path("leaderboard.yml").read_text()
        shutil.rmtree("results/calls/ours")
        done = bench("check", "--accept", "--json")
        assert done.exit_code == 1
        assert json.loads(done.stdout)["accepted"] == [
            {"dataset": "calls", "detector": "ours", "done": False, "told": "accepted, not in the store"}
        ]
        assert done.stderr == (
            "ours on calls: not accepted: accepted, not in the store\naccepted 0 of 1 in leaderboard.yml\n"
        )
        assert Path("leaderboard.yml").read_text() == text

    def test_reports(self) -> None:
        """JUnit and Markdown are written whether the check fails or not; `-` prints Markdown and no table."""
        put(-SCORES)
        done = bench("check", "--junit", "junit.xml", "--markdown", "summary.md")
        assert done.exit_code == 1
        assert done.stdout.endswith("1 of 1 cell fails: 1 regressed\n")
        (suite,) = junitparser.JUnitXml.fromfile("junit.xml")
        assert (suite.tests, suite.failures, [(case.classname, case.name) for case in suite]) == (
            *(1, 1),
            [("calls", "ours")],
        )
        printed = bench("check", "--markdown", "-")
        assert (printed.exit_code, printed.stdout) == (1, Path("summary.md").read_text())

    def test_it_needs_no_torch(self) -> None:
        """A check of score files starts in a moment: neither torch nor transformers is loaded."""
        code = (
            "import sys; from bench.cli import main; main(['check'], standalone_mode=False); "
            "assert not {'torch', 'transformers', 'sklearn', 'soundfile'} & set(sys.modules)"
        )
        ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert "1 identical" in ran.stdout


def test_wrong_usage(tmp_path: Path) -> None:
    """No results, no file, an unknown board, a tolerance that is none, two outputs at once: exit status 2."""
    assert "there are no results here" in bench("check").stderr
    Path("results").mkdir()
    for arguments, told in [
        ((), "there are no accepted results here"),
        (("--leaderboard", tmp_path / "x.yml"), "x.yml"),
        (("--accept", "--board", "main"), "no board is called 'main'"),
        (("--accept", "--tolerance", "nan"), "a tolerance is a number"),
        (("--json", "--markdown", "-"), "--json and --markdown - both print"),
    ]:
        done = bench("check", *arguments)
        assert (done.exit_code, told in done.stderr) == (2, True), done.stderr


def test_nothing_to_compare() -> None:
    """No accepted result is no failure, and the output says that nothing was compared."""
    Path("results").mkdir()
    Path("leaderboard.yml").write_text("accepted: []\n")
    done = bench("check")
    assert (done.exit_code, done.stdout) == (
        0,
        "\nnothing was compared: no result is accepted; nothing is stored here\n",
    )


def test_a_board_is_run_and_checked(tmp_path: Path) -> None:
    """`bench run --board` scores its detectors on its datasets, and `bench check --board` looks at these."""
    world = World(tmp_path)
    for name in ("one", "two", "three"):
        world.detector(name)
    world.dataset("list", range(1, 9))
    Path("mine.yml").write_text("boards:\n  pair: {detectors: [one, t*o], datasets: [list]}\n")
    places = ("--data-root", world.data, "--cards", world.cards, "--leaderboard", "mine.yml")
    ran = bench("run", "--board", "pair", "--device", "cpu", "--workers", 0, "--json", *places)
    assert ran.exit_code == 0, ran.output
    assert {cell["detector"] for cell in json.loads(ran.stdout)["cells"]} == {"one", "two"}
    check = ("--leaderboard", "mine.yml", "--cards", world.cards, "--board", "pair")
    assert bench("check", "--accept", *check).exit_code == 0
    assert verdicts(*check, code=0) == {"one": "identical", "two": "identical"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--board", "main", "-d", "random"), "--board names detectors and datasets"),
        (("-d", "random"), "Missing option '--datasets' (or give --board)"),
        ((), "Missing option '--detectors' (or give --board)"),
        (("--board", "main"), "there are no accepted results here"),
    ],
)
def test_a_run_needs_a_board_or_names(arguments: tuple[str, ...], told: str) -> None:
    """One of the two, not both: exit status 2."""
    ran = bench("run", *arguments)
    assert (ran.exit_code, told in ran.stderr) == (2, True), ran.stderr


def test_the_shipped_file() -> None:
    """leaderboard.yml of this repository is valid, and every accepted result of the demo has its scores."""
    file = Path(cli.__file__).parents[2] / "leaderboard.yml"
    board = accepted.read(file)
    assert {one.detector for one in board.accepted} == set(board.board("demo").detectors)
    for one in board.accepted:
        assert accepted.read_scores(accepted.scores_file(file, one.dataset, one.detector), one.digest, 180) is not None
