"""The command line as a user meets it: what it prints, what it exits with, what it writes and what it leaves alone."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from bench import cli, registry, training
from bench.errors import DataError
from bench.metrics import evaluate
from tests.tiny import World, files_below

RATE = 16_000
SCRIPT = Path(sys.executable).parent / "bench"


pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    return World(tmp_path / "world")


def bench(*arguments: object) -> click.testing.Result:
    """A command in this process; an exception that is not an exit status is the test's."""
    return click.testing.CliRunner().invoke(cli.main, [str(argument) for argument in arguments], catch_exceptions=False)


def run(*arguments: object) -> click.testing.Result:
    return bench("run", "--device", "cpu", "--workers", 0, *arguments)


def cells(*arguments: object) -> dict[str, dict[str, Any]]:
    """What `bench show --json` tells, by detector."""
    shown = bench("show", "--json", *arguments)
    assert shown.exit_code == 0, shown.output
    return {cell["detector"]: cell for cell in json.loads(shown.stdout)["cells"]}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in files_below(folder)}


def in_order(text: str, *parts: str) -> bool:
    """Whether every part is in the text, one after the other."""
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


# --- real audio and released weights ----------------------------------------------------------------------------------


SAMPLE = 24  # of the 140 files, which take a second for eight of them


@pytest.fixture(scope="module")
def scored(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[object, ...], Path, str]:
    """AASIST on a sample of the small In-the-Wild corpus, once: the arguments, the results, what was printed."""
    results = tmp_path_factory.mktemp("aasist") / "results"
    places = ("--data-root", shared / "corpora", "--weights", shared / "golden" / "weights", "--results", results)
    arguments = ("--detectors", "aasist", "--datasets", "itw", "--limit", SAMPLE, *places)
    ran = bench("run", "--device", "cpu", *arguments)
    assert ran.exit_code == 0, ran.output
    return arguments, results, ran.output


def test_released_weights_on_real_audio(scored: tuple[tuple[object, ...], Path, str], shared: Path) -> None:
    """Every score is that of the authors' code within 1e-4, and the EER that of their scores of these trials."""
    _, results, output = scored
    lines = (shared / "golden" / "aasist_itw_scores.txt").read_text().splitlines()
    expected = {file.removesuffix(".wav"): float(score) for file, score in map(str.split, lines)}
    (place,) = (results / f"itw%3A{SAMPLE}" / "aasist").glob("*/scores.parquet")
    table = pd.read_parquet(place).set_index("trial")["score"]
    assert len(expected) == 140
    assert max(abs(table[trial] - expected[trial]) for trial in table.index) <= 1e-4
    cell = cells("--results", results, "-d", "aasist")["aasist"]
    assert (cell["n_bonafide"], cell["n_spoof"], cell["status"]) == (8, 16, "complete")
    labels = dict(pd.read_csv(shared / "corpora/itw/release_in_the_wild/meta.csv")[["file", "label"]].to_numpy())
    real = [labels[f"{trial}.wav"] == "bona-fide" for trial in table.index]
    assert cell["eer"] == evaluate([expected[trial] for trial in table.index], np.array(real, dtype=int))["eer"]
    assert f"{100 * cell['eer']:.4f}" in output


def test_the_authors_scores_give_their_error_rate(shared: Path) -> None:
    """The whole score file of the authors' code, imported: 47.0175 % over 45 and 95 trials."""
    file = shared / "golden" / "aasist_itw_scores.txt"
    taken = bench("import", file, "--detector", "aasist", "--dataset", "itw", "--data-root", shared / "corpora")
    assert in_order(taken.stdout, "aasist", "47.0175", "140"), taken.output


def test_the_same_command_scores_nothing(scored: tuple[tuple[object, ...], Path, str]) -> None:
    """What is finished is not scored again, the output says so, and not a byte of the scores is written anew."""
    arguments, results, _ = scored
    before = {file: file.stat().st_mtime_ns for file in results.rglob("scores.parquet")}
    again = run(*arguments)
    assert again.exit_code == 0
    assert "nothing to score: 1 of 1 cells were finished before" in again.output
    assert "trials to go" not in again.output
    assert {file: file.stat().st_mtime_ns for file in results.rglob("scores.parquet")} == before
    plan = json.loads(run(*arguments, "--dry-run", "--json").stdout)["plan"]
    assert [pair["state"] for pair in plan] == ["done"]


def test_all_runs_what_can_run_and_tells_the_rest(shared: Path) -> None:
    """`all` scores and trains what can be, names what is blocked with reason and remedy, and exits 0."""
    ran = run("--detectors", "all", "--datasets", "itw", "--limit", 30, "--data-root", shared / "corpora")
    assert ran.exit_code == 0, ran.output
    assert "training lfcc-gmm on asvspoof2019-la-train" in ran.stderr
    assert in_order(
        ran.stdout,
        "aasist* (2), antideepfake-* (14)",
        "on itw:30: blocked: the weights are not here",
        "remedy: `bench fetch detectors 'aasist*' 'antideepfake-*'",
    )
    told = cells()
    finished = {name for name, cell in told.items() if cell["status"] == "complete"}
    assert finished == {"lfcc-gmm", "probe-bandwidth", "probe-duration", "probe-silence", "random"}
    blocked = {name for name, cell in told.items() if cell["status"] == "blocked"}
    assert blocked == set(registry.detectors().select(["all"])) - finished
    assert "lfcc-gmm-demo" not in told, "a detector that is not listed is no part of `all`"


@pytest.mark.parametrize(("dataset", "bonafide", "spoof"), [("asvspoof2019-la", 14, 23), ("mlaad-en", 14, 25)])
def test_other_corpora(dataset: str, bonafide: int, spoof: int, shared: Path) -> None:
    """The other small corpora run too, with globs and comma lists, on all of their trials."""
    ran = run("-d", "random,probe-*", "-s", dataset, "--data-root", shared / "corpora", "--json")
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)["cells"]
    assert {cell["detector"] for cell in told} == {"random", "probe-bandwidth", "probe-duration", "probe-silence"}
    assert [cell["eer"] for cell in told] == sorted(cell["eer"] for cell in told)
    assert {(cell["n_bonafide"], cell["n_spoof"], cell["status"]) for cell in told} == {(bonafide, spoof, "complete")}


def test_import_of_published_scores(shared: Path) -> None:
    """Scores of a public re-training, 31,779 trials and no audio, have the EER their README gives: 7.8357 %."""
    scores = shared / "golden" / "scores"
    arguments = ("sls_v1_itw.txt.gz", "--detector", "sls-v1-released", "--dataset", "itw", "--data-root", scores)
    taken = bench("import", scores / arguments[0], *arguments[1:])
    assert taken.exit_code == 0, taken.output
    assert in_order(taken.stdout, "sls-v1-released", "itw", "7.8357", "31,779", "complete")
    cell = cells()["sls-v1-released"]
    assert (cell["imported"], cell["n_bonafide"], cell["n_spoof"]) == (True, 19_963, 11_816)
    assert round(100 * cell["eer"], 4) == 7.8357


# --- names and what blocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detectors", "datasets", "told"),
    [
        ("aasistt", "itw", "no detector is called 'aasistt'\n  remedy: did you mean aasist"),
        ("random", "it-w", "no dataset is called 'it-w'\n  remedy: did you mean itw"),
        ("nothing-*", "itw", "no detector fits 'nothing-*'"),
        (",", "itw", "no detectors were named"),
    ],
)
def test_names_that_cannot_be_meant(detectors: str, datasets: str, told: str, elsewhere: Path) -> None:
    """A name nobody knows is wrong usage, exit 2, with the nearest names; nothing is written."""
    ran = run("--detectors", detectors, "--datasets", datasets)
    assert ran.exit_code == 2
    assert told in ran.stderr
    assert not list(elsewhere.iterdir())


def test_a_mistaken_place_leaves_nothing_behind(tmp_path: Path) -> None:
    """A folder that is no corpus blocks that run; no cell of its name stays in the results."""
    (tmp_path / "empty").mkdir()
    ran = run("-d", "random", "-s", "slip", "--data", f"slip={tmp_path / 'empty'}")
    assert (ran.exit_code, "random on slip: blocked: " in ran.stdout) == (1, True), ran.output
    assert "there are no results here yet" in bench("show").stdout


def test_a_list_that_is_gone_is_remembered(own: Own) -> None:
    """What was scored on it is older than the last run, which was blocked: a check must not pass with it."""
    assert own.run().exit_code == 0
    accepted = ("--leaderboard", own.list.parent / "leaderboard.yml")
    assert bench("check", "--accept", *accepted).exit_code == 0
    assert bench("check", *accepted).exit_code == 0
    own.list.write_text("")
    assert own.run().exit_code == 1
    checked = bench("check", *accepted)
    assert checked.exit_code == 1
    assert "missing" in checked.stdout
    assert "the last run could not score it" in " ".join(checked.stdout.split())


def test_named_and_blocked(world: World) -> None:
    """What was asked for by name and is not here: exit 1 with reason and remedy, and no claim that it was done."""
    dataset = run("-d", "random", "-s", "itw")
    assert dataset.exit_code == 1
    assert in_order(dataset.stdout, "random on itw: blocked: meta.csv of In-the-Wild is not here", "data/itw", "remedy")
    assert "finished before" not in dataset.stdout
    world.dataset("d", range(4))
    places = ("-s", "d", "--data-root", world.data, "--cards", world.cards)
    assert run("-d", "aasist,random", *places).exit_code == 1
    assert run("-d", "aasist*,random", *places).exit_code == 0, "a glob names nothing"
    assert run("-d", "aasist*", *places).exit_code == 1, "all of it blocked is no success"


def test_options_that_cannot_be_meant(world: World, tmp_path: Path) -> None:
    """Wrong options are exit 2 and say which one: --data, --device, --batch-size, --limit, --cards, a data root."""
    world.dataset("d", range(4))
    places = ("-d", "random", "-s", "d", "--data-root", world.data, "--cards", world.cards)
    for extra, told in (
        (("--data", "mine"), "'mine' is not NAME=PATH"),
        (("--data", "mine=nowhere.csv", "-s", "mine"), "nowhere.csv"),
        (("--device", "tpu"), "'tpu'"),
        (("--device", "cuda:99"), "cuda:99 is not there"),
        (("--batch-size", 0), "--batch-size"),
        (("--limit", 0), "--limit"),
        (("--cards", tmp_path / "none"), "no such folder of cards"),
    ):
        ran = run(*places, *extra)
        assert (ran.exit_code, told in ran.stderr) == (2, True), ran.output
    (tmp_path / "file").touch()
    assert run(*places, "--data-root", tmp_path / "file").exit_code == 2


# --- faults of corpora ------------------------------------------------------------------------------------------------


class Own:
    """A list of six files of the user's own beside its folder of audio; half a second each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.list = folder, folder / "list.csv"
        (folder / "audio").mkdir(parents=True)
        for number in range(6):
            self.audio(f"{number}.wav", np.random.default_rng(number).normal(0, 0.1, RATE // 2))
        self.lines = ["path,label", *(f"audio/{n}.wav,{'bonafide' if n % 2 else 'spoof'}" for n in range(6))]
        self.write()

    def audio(self, name: str, wave: np.ndarray, rate: int = RATE, **options: Any) -> Path:
        soundfile.write(self.folder / "audio" / name, wave, rate, **options)
        return self.folder / "audio" / name

    def write(self, ends: str = "\n", start: str = "") -> None:
        self.list.write_bytes((start + "".join(line + ends for line in self.lines)).encode())

    def run(self, *arguments: object, detectors: str = "probe-silence") -> click.testing.Result:
        return run("-d", detectors, "-s", "mine", "--data", f"mine={self.list}", *arguments)


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path / "own")


def truncated_flac(own: Own) -> Path:
    place = own.audio("3.flac", np.random.default_rng(3).normal(0, 0.1, RATE))
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    own.lines[4] = "audio/3.flac,bonafide"
    own.write()
    return place


def bad_bytes(own: Own, content: bytes) -> Path:
    place = own.folder / "audio" / "3.wav"
    place.write_bytes(content)
    return place


def with_nan(own: Own) -> Path:
    wave = np.zeros(800, dtype=np.float32)
    wave[17] = math.nan
    return own.audio("3.wav", wave, subtype="FLOAT")


def removed(own: Own) -> Path:
    place = own.folder / "audio" / "3.wav"
    place.unlink()
    return place


FAULTS = {
    "missing": (removed, "the file is missing"),
    "empty": (lambda own: bad_bytes(own, b""), "the file is empty (0 bytes)"),
    "text": (lambda own: bad_bytes(own, b"this is a note, not a recording\n" * 9), "no decoder reads this file"),
    "truncated": (truncated_flac, "no decoder reads this file"),
    "nan": (with_nan, "sample 17 is NaN or infinite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_decoded(fault: str, own: Own) -> None:
    """One bad file: the cell is incomplete without a number, exit 1 names file and remedy, --allow-missing gives it."""
    break_it, what = FAULTS[fault]
    place = break_it(own)
    ran = own.run()
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "probe-silence on mine: incomplete: 1 of 6 files", what, str(place), "remedy: mend")
    cell = cells()["probe-silence"]
    assert (cell["status"], cell["eer"]) == ("incomplete", None)
    allowed = own.run("--allow-missing")
    assert allowed.exit_code == 0, allowed.output
    assert "over the scored trials only: 1 of 6 have no score" in allowed.stdout
    assert cells()["probe-silence"]["n_bonafide"] == 2


def test_all_audio_missing(own: Own) -> None:
    """No audio at all blocks the detectors that listen, and not the one that needs none."""
    for number in range(6):
        (own.folder / "audio" / f"{number}.wav").unlink()
    ran = own.run(detectors="random,probe-silence")
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "probe-silence on mine: blocked: none of the 6 audio files of mine is here", "0.wav")
    assert cells()["random"]["status"] == "complete"


def test_a_mended_file_is_all_that_is_scored(world: World) -> None:
    """After one missing file came back the same command scores it alone and the cell is complete."""
    world.dataset("d", range(6))
    world.detector("det", arguments={"log": str(world.log)})
    arguments = ("-d", "det", "-s", "d", "--data-root", world.data, "--cards", world.cards, "--batch-size", 1)
    (world.data / "audio" / "3.wav").unlink()
    assert run(*arguments).exit_code == 1
    assert sorted(world.given()) == [[0], [1], [2], [4], [5]]
    world.audio(3)
    assert run(*arguments).exit_code == 0
    assert world.given() == [[3]]
    assert cells()["det"]["status"] == "complete"


def test_ctrl_c(world: World) -> None:
    """An interrupted run is exit 130 without a traceback; the same command scores only what is not stored."""
    world.dataset("d", range(6))
    log = str(world.log)
    world.detector("det", "InterruptedAt", arguments={"at": 3, "flag": str(world.root / "interrupted"), "log": log})
    arguments = ("-d", "det", "-s", "d", "--data-root", world.data, "--cards", world.cards, "--batch-size", 1)
    stopped = run(*arguments)
    assert stopped.exit_code == 130
    assert "interrupted; what was trained and scored so far is stored: run it again to go on" in stopped.stderr
    assert "Traceback" not in stopped.output
    assert cells()["det"]["status"] == "running"
    world.given()
    assert run(*arguments).exit_code == 0
    assert world.given() == [[3], [4], [5]]


def test_audio_that_only_looks_odd(own: Own) -> None:
    """A stereo file of 44.1 kHz and one of ten samples are scored like any other."""
    own.audio("2.wav", np.random.default_rng(2).normal(0, 0.1, (22_050, 2)), 44_100)
    own.audio("3.wav", np.full(10, 0.25))
    ran = own.run(detectors="probe-*")
    assert ran.exit_code == 0, ran.output
    assert {cell["status"] for cell in cells().values()} == {"complete"}


@pytest.mark.parametrize(
    ("row", "line", "told"),
    [
        (6, "audio/3.wav,bonafide", "is listed twice, first in line 5"),
        (6, "audio/5.wav,human", "unknown label 'human'"),
        (6, "audio/5.wav,1", "write `bonafide` or `spoof`: corpora disagree"),
        (6, "audio/5.wav", "1 columns instead of the 2"),
        (6, "../../5.wav,spoof", "leads outside the corpus"),
        (0, "path;key", "no column `path`"),
    ],
)
def test_a_list_that_contradicts_itself(row: int, line: str, told: str, own: Own) -> None:
    """A bad line of a list blocks the dataset: exit 1 with the file, the line and a remedy."""
    own.lines[row] = line
    own.write()
    ran = own.run()
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "probe-silence on mine: blocked:", f"{own.list}, line {row + 1}", "remedy: ")
    assert told in ran.stdout


def test_an_empty_list(own: Own) -> None:
    """An empty list is told with its name."""
    own.list.write_bytes(b"")
    ran = own.run()
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "blocked: the file is empty", str(own.list), "remedy")


def test_line_ends_and_byte_order_mark(own: Own) -> None:
    """CRLF and a byte order mark change neither the digest nor the number."""
    assert own.run().exit_code == 0
    plain = cells()["probe-silence"]
    own.write(ends="\r\n", start="\ufeff")
    assert own.run().exit_code == 0
    assert cells()["probe-silence"] == plain


def test_a_folder_of_real_and_fake(tmp_path: Path) -> None:
    """`--data NAME=FOLDER` needs no list: the folders `real` and `fake` say it all, ids may hold spaces and folders."""
    for place in ("real/a b.wav", "fake/tts 1/c.wav"):
        (tmp_path / "own" / place).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "own" / place, np.full(800, 0.1), RATE)
    ran = run("-d", "random", "-s", "mine", "--data", f"mine={tmp_path / 'own'}")
    assert ran.exit_code == 0, ran.output
    assert (cells()["random"]["n_bonafide"], cells()["random"]["n_spoof"]) == (1, 1)


def test_a_space_in_an_id_of_a_protocol(tmp_path: Path) -> None:
    """A 2019 protocol separates columns by spaces: an id with one is refused with its line."""
    place = tmp_path / "root/asvspoof2019/LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.eval.trl.txt"
    place.parent.mkdir(parents=True)
    place.write_text("LA_0001 LA_E_1 - - bonafide\nLA_0001 LA E_2 - A07 spoof\n")
    ran = run("-d", "random", "-s", "asvspoof2019-la", "--data-root", tmp_path / "root")
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "random on asvspoof2019-la: blocked: ", f"{place}, line 2", "remedy: ")


def test_results_that_is_a_file(own: Own, tmp_path: Path) -> None:
    """A results path that is a file is told at once and left as it is."""
    place = tmp_path / "results.txt"
    place.write_text("my notes")
    ran = own.run("--results", place)
    assert ran.exit_code == 1
    assert in_order(ran.stderr, "cannot be written", str(place), "--results")
    assert place.read_text() == "my notes"
    assert bench("show", "--results", place).exit_code == 2


# --- cards and weights ------------------------------------------------------------------------------------------------


def test_a_card_with_a_typo(own: Own, tmp_path: Path) -> None:
    """A misspelt field of a card is exit 2 with file, line and the field that was meant."""
    card = tmp_path / "cards" / "mine.yaml"
    card.parent.mkdir()
    card.write_text("name: mine-aasist\nextends: aasist\ntitle: Mine\nlicense: MIT\n")
    ran = own.run("--cards", card.parent)
    assert ran.exit_code == 2
    assert in_order(ran.stderr, "unknown field `license`", f"{card}, line 4", "did you mean `licence`?")


def test_weights_of_another_hash(own: Own, tmp_path: Path) -> None:
    """A checkpoint that is not the published one is not used: exit 1 with its path and both hashes."""
    place = tmp_path / "weights" / "deep" / "AASIST.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"not the weights")
    ran = own.run("--weights", tmp_path / "weights", detectors="aasist")
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "aasist on mine: blocked: not the published AASIST.pth", str(place), "remedy: download")
    assert "51d2d9cf0738172f61e2a384ec50a54a55363240f67c971ed55a92435bc1a1c0" in ran.stdout


class Malicious:
    """A pickle that leaves a file behind when it is loaded the unsafe way."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("torch", "refused: this file is a pickle that asks for"), ("pickle", "not a file of plain tensors")],
)
def test_a_malicious_checkpoint(kind: str, told: str, own: Own, tmp_path: Path) -> None:
    """A checkpoint that wants to run code is refused and nothing of it runs; the other detectors do."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "evil.yaml").write_text(
        "name: evil\nextends: aasist\ntitle: Evil\nweights: {file: evil.pth, source: a forum, licence: none}\n"
    )
    (tmp_path / "weights").mkdir()
    weights = tmp_path / "weights" / "evil.pth"
    state = {"weight": Malicious(tmp_path / "owned")}
    if kind == "torch":
        torch.save(state, weights)
        torch.load(weights, weights_only=False)
    else:
        weights.write_bytes(pickle.dumps(state))
        pickle.loads(weights.read_bytes())
    (tmp_path / "owned").rmdir()  # so it would, unsafely read
    ran = own.run("--cards", tmp_path / "cards", "--weights", weights.parent, detectors="evil,random")
    assert ran.exit_code == 1
    assert in_order(
        ran.stdout, f"evil on mine: failed: {told}", str(weights), "remedy: get the weights as plain tensors"
    )
    assert not (tmp_path / "owned").exists()
    assert cells()["random"]["status"] == "complete"


HOSTILE = "../../<script>alert(1)</script>"


def test_hostile_names_stay_inside_the_results(own: Own, tmp_path: Path, elsewhere: Path) -> None:
    """HTML, `/` and `..` in names of cards, detectors, datasets and files write nothing outside and are escaped."""
    cards = tmp_path / "cards"
    cards.mkdir()
    title = "<img src=x onerror=alert(2)>"
    card = {"name": f"{HOSTILE}card", "extends": "random", "title": title, "summary": title, "licence": title}
    (cards / "hostile.yaml").write_text(json.dumps(card))
    (own.folder / "audio" / "<b>").mkdir()
    own.audio("<b>/x.wav", np.full(800, 0.1))
    own.lines[1] = "audio/<b>/x.wav,spoof"
    own.write()
    scores = tmp_path / "<i>scores.txt"
    scores.write_text("".join(f"{line.partition(',')[0]} {row}\n" for row, line in enumerate(own.lines[1:])))
    before = tree(tmp_path)

    data = f"{HOSTILE}data"
    places = ("--data", f"{data}={own.list}", "--cards", cards)
    ran = run("-d", f"{HOSTILE}card", "-s", data, *places)
    assert ran.exit_code == 0, ran.output
    taken = bench("import", scores, "--detector", f"{HOSTILE}import", "--dataset", data, *places)
    assert taken.exit_code == 0, taken.output
    assert set(cells()) == {f"{HOSTILE}card", f"{HOSTILE}import"}
    assert bench("report").exit_code == 0

    site = {name: content for name, content in tree(elsewhere / "site").items() if name.endswith(".html")}
    for text in (HOSTILE, title):
        assert any(escape(text).encode() in page for page in site.values())
    for tag in (b"<script>", b"<img src=x", b"<i>", b"<b>/"):
        assert not [name for name, page in site.items() if tag in page]
    after = {
        name: content for name, content in tree(tmp_path).items() if not name.startswith(("here/results", "here/site"))
    }
    assert after == before
    assert not [name for name in tree(elsewhere / "site") if not re.fullmatch(r"[a-z0-9./_-]+", name)]


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def trainable(world: World) -> tuple[object, ...]:
    """A detector `det` that is trained on `train` with seed 3, and one whose corpus is not here; the places of all."""
    world.dataset("train", range(11, 15))
    world.dataset("gone", range(21, 25), audio=False)
    world.dataset("d", range(8))
    for name, train in (("det", "train"), ("lacking", "gone")):
        recipe = {"train": train, "seed": 3}
        world.detector(name, "Trainable", arguments={"log": str(world.log)}, recipe=recipe)
    return ("--data-root", world.data, "--cards", world.cards, "--device", "cpu")


def test_train_tells_where_the_weights_lie(trainable: tuple[object, ...]) -> None:
    """A seed at a time, what is trained is left alone, and `run` finds it."""
    first = bench("train", "det", *trainable)
    assert first.exit_code == 0, first.output
    assert in_order(first.stdout, "det (seed 3): trained\n", "results/weights/det/", "/model.safetensors")
    assert "training det on train" in first.stderr
    again = bench("train", "det", "--seeds", 2, *trainable)
    assert in_order(again.stdout, "det (seed 3): trained before\n", "det (seed 4): trained\n")
    plan = json.loads(run("-d", "det", "-s", "d", "--seeds", 3, "--dry-run", "--json", *trainable).stdout)
    assert [(pair["seed"], pair["state"]) for pair in plan["plan"]] == [(3, "score"), (4, "score"), (5, "train")]
    assert plan["trainings"] == [{"detector": "det", "seeds": [5], "estimate": "4 utterances, without a gradient"}]


def test_a_training_that_cannot_be(trainable: tuple[object, ...], world: World) -> None:
    """Blocked or failed is exit 1 with reason and remedy, and the others are trained; no recipe is exit 2."""
    ran = bench("train", "lacking", "det", *trainable)
    assert ran.exit_code == 1
    assert in_order(
        ran.stdout,
        "det (seed 3): trained",
        "lacking (seed 3): blocked: training lacking needs gone: 4 of 4 audio files are missing",
        "remedy: get gone from its author",
    )
    arguments = {"log": str(world.log), "broken": True}
    world.detector("broken", "Trainable", arguments=arguments, recipe={"train": "train"})
    ran = bench("train", "broken", *trainable)
    assert ran.exit_code == 1
    assert "broken (seed 0): failed: ArithmeticError: the loss exploded" in ran.stdout
    ran = bench("train", "random", *trainable)
    assert ran.exit_code == 2
    assert in_order(ran.stderr, "random is not trained here: it learns nothing", "detectors with a recipe: ", "det, ")


def test_a_dry_run_of_training_writes_nothing(trainable: tuple[object, ...], elsewhere: Path) -> None:
    """What would be trained, where the weights would lie, and about how long it takes; exit 1 where it is blocked."""
    ran = bench("train", "det", "--dry-run", *trainable)
    assert ran.exit_code == 0, ran.output
    assert in_order(ran.stdout, "det (seed 3): to be trained\n", "results/weights/det/", "training det (seed 3): 4 ")
    ran = bench("train", "l*,lfcc-gmm-demo", "--dry-run", *trainable)
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "lfcc-gmm-demo (seed 0): to be trained, on a corpus that is made first", "lacking")
    assert not list(elsewhere.iterdir())


def test_seeds_make_one_row(trainable: tuple[object, ...]) -> None:
    """`run --seeds` trains and scores each, the table has the mean; JSON has the cells; what is done is done."""
    ran = run("-d", "det,random", "-s", "d", "--seeds", 3, *trainable)
    assert ran.exit_code == 0, ran.output
    (row,) = (line for line in ran.stdout.splitlines() if " det " in line)
    assert in_order(ran.stdout, "] mean of 3 seeds, best ")
    cell = cells()["det"]
    assert cell["band"]["seeds"] == [3, 4, 5]
    assert f"{100 * cell['band']['eer']['mean']:.4f}" in row
    assert next(one["eer"] for one in cell["band"]["cells"]) == cell["eer"]
    again = run("-d", "det,random", "-s", "d", "--seeds", 3, *trainable)
    assert "nothing to score: 4 of 4 cells were finished before" in again.stdout
    assert run("-d", "det", "-s", "d", *trainable).exit_code == 0
    assert cells()["det"]["band"] is None


def test_a_lost_seed_is_told(trainable: tuple[object, ...]) -> None:
    """The row stands for the seed that is shown, and says which one has no number."""
    assert run("-d", "det", "-s", "d", "--seeds", 2, *trainable).exit_code == 0
    _, second = (one["key"] for one in cells()["det"]["band"]["cells"])
    shutil.rmtree(Path("results", "d", "det", second[:12]))
    assert in_order(bench("show").stdout, "[1]", "[1] seed 3 alone, no mean of 2 seeds: seed 4 is blocked")
    assert run("-d", "det", "-s", "d", "--seeds", 2, *trainable).exit_code == 0
    assert cells()["det"]["band"]["reason"] == ""


def test_training_may_be_left_out(trainable: tuple[object, ...]) -> None:
    """`--train never` names the command that trains."""
    ran = run("-d", "det,random", "-s", "d", "--train", "never", *trainable)
    assert ran.exit_code == 1
    assert in_order(ran.stdout, "det on d: blocked: det is not trained yet", "remedy: `bench train det` trains it")
    assert "training" not in ran.stderr


def test_the_limit_of_kept_features(trainable: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--feature-cache` is in GB; 0 keeps none; less is wrong usage."""
    limits: list[int] = []

    def fake(*_: object, feature_limit: int, **__: object) -> Path:
        limits.append(feature_limit)
        raise DataError("not today")

    monkeypatch.setattr(training, "train", fake)
    for given in ((), ("--feature-cache", 0), ("--feature-cache", 1.5)):
        assert bench("train", "det", *given, *trainable).exit_code == 1
        assert run("-d", "det", "-s", "d", *given, *trainable).exit_code == 1
    assert limits == [32_000_000_000] * 2 + [0] * 2 + [1_500_000_000] * 2
    assert bench("train", "det", "--feature-cache", -1, *trainable).exit_code == 2


def test_several_processes(trainable: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A run under `accelerate launch` is wrong usage and says what is meant."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    ran = run("-d", "random", "-s", "d", *trainable)
    assert ran.exit_code == 2
    assert in_order(ran.stderr, "scoring is for one process, these are 2", "accelerate launch -m bench train NAME")


# --- looking without touching -----------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing(own: Own, elsewhere: Path) -> None:
    """--dry-run shows the plan, blocked pairs and missing files included; no folder appears and no corpus is made.

    Its exit status is that of the run: aasist was asked for by name and is blocked.
    """
    removed(own)
    ran = own.run("--dry-run", "-s", "demo", "-d", "random,aasist")
    assert ran.exit_code == 1
    rows = {tuple(line.strip().split(maxsplit=3)) for line in ran.stdout.splitlines()}
    assert ("probe-silence", "mine", "6", "score (audio files missing: 1)") in rows
    assert ("random", "mine", "6", "score") in rows
    assert ("aasist", "mine", "6", "blocked (audio files missing: 1)") in rows
    assert in_order(ran.stdout, "aasist on mine: blocked: the weights", "remedy")
    plan = json.loads(own.run("--dry-run", "--json", "-s", "demo").stdout)["plan"]
    keys = ["detector", "dataset", "seed", "trials", "state", "key", "missing_files", "reason", "remedy"]
    assert [list(pair) for pair in plan] == [keys, keys]
    assert {pair["dataset"]: (pair["state"], pair["trials"], pair["missing_files"]) for pair in plan} == {
        "demo": ("make", None, 0),
        "mine": ("score", 6, 1),
    }
    assert not list(elsewhere.iterdir())


def test_listing_writes_nothing(world: World, elsewhere: Path) -> None:
    """`list`, `show` and `doctor` create no file, and say of what is missing how to get it."""
    detectors, datasets = bench("list", "detectors"), bench("list", "datasets")
    assert (detectors.exit_code, datasets.exit_code) == (0, 0)
    assert in_order(detectors.stdout, "random", "ready", "aasist", "fetchable", "ssl-aasist-df", "blocked")
    assert in_order(detectors.stdout, "the weights are not here", "remedy: `bench fetch detectors aasist aasist-l ")
    assert in_order(detectors.stdout, "ssl-aasist-df: the weights", "remedy: download", "antideepfake-* (14 of 17): ")
    assert in_order(
        datasets.stdout, "demo", "made by the first run", "itw", "missing", "itw: meta.csv", "deepfake-total"
    )
    assert bench("show").exit_code == 2
    assert bench("report").exit_code == 2
    assert bench("doctor").exit_code == 0
    assert not list(elsewhere.iterdir())
    (elsewhere / "results").mkdir()
    assert bench("show").stdout == "there are no results here yet\n"


def test_list_as_json(world: World) -> None:
    """`list --json` has every card with its state; a user's own cards are among them."""
    world.detector("det")
    told = json.loads(bench("list", "detectors", "--json", "--cards", world.cards).stdout)["detectors"]
    both = ["name", "title", "licence", "ready", "state", "reason", "remedy"]
    assert list(told[0]) == [*both, "detail", "family", "parameters", "weights_licence", "leakage", "notices"]
    state = {entry["name"]: (entry["ready"], entry["state"]) for entry in told}
    assert (state["det"], state["aasist"]) == ((True, "ready"), (False, "fetchable"))
    assert (state["lfcc-gmm-demo"], state["ssl-aasist-df"]) == ((True, "trainable"), (False, "blocked"))
    assert next(entry for entry in told if entry["name"] == "aasist")["leakage"]["asvspoof2019-la"] == "seen"
    assert list(json.loads(bench("list", "datasets", "--json").stdout)["datasets"][0]) == both


def test_a_sample_is_a_dataset_of_its_own(world: World) -> None:
    """--limit scores about N trials of both classes under the name NAME:N; the whole is scored apart."""
    world.dataset("d", range(12))
    arguments = ("-d", "random", "-s", "d", "--data-root", world.data, "--cards", world.cards)
    assert run(*arguments, "--limit", 4).exit_code == 0
    assert run(*arguments).exit_code == 0
    told = json.loads(bench("show", "--json").stdout)["cells"]
    assert {cell["dataset"]: (cell["n_bonafide"], cell["n_spoof"]) for cell in told} == {"d": (6, 6), "d:4": (2, 2)}
    assert len({cell["digest"] for cell in told}) == 2


def test_show_chooses(world: World) -> None:
    """`show` takes names, globs and comma lists of what is stored; a name that is not is exit 2 with the nearest."""
    world.dataset("one", range(4))
    world.dataset("two", range(4))
    places = ("--data-root", world.data, "--cards", world.cards)
    assert run("-d", "random,probe-duration", "-s", "one,two", *places).exit_code == 0
    assert in_order(bench("show").stdout, "probe-duration", "one", "random", "one", "probe-duration", "two")
    for chosen in (("-d", "prob*"), ("-d", "probe-duration"), ("--detectors", "probe-duration, probe-d*")):
        assert set(cells(*chosen)) == {"probe-duration"}
    assert "two" not in bench("show", "-s", "one").stdout
    lost = bench("show", "-d", "randum")
    assert lost.exit_code == 2
    assert "did you mean random?" in lost.stderr


def test_json_of_results(world: World) -> None:
    """`run --json` and `show --json` are the same record: fractions, null where there is no number."""
    world.dataset("d", range(4))
    ran = run("-d", "random,aasist", "-s", "d", "--data-root", world.data, "--cards", world.cards, "--json")
    told = {cell["detector"]: cell for cell in json.loads(ran.stdout)["cells"]}
    assert told == cells()
    head = ["detector", "dataset", "digest", "key", "status", "reason", "remedy", "caveat", "imported"]
    assert list(told["random"])[:13] == [*head, "weights", "leakage", "trials", "eer"]
    assert {"eer_threshold", "frr", "far", "auc", "f1_bonafide", "f1_spoof", "n_bonafide"} < told["random"].keys()
    assert 0 <= told["random"]["eer"] <= 1
    assert (told["aasist"]["status"], told["aasist"]["eer"], told["aasist"]["key"]) == ("blocked", None, None)


def test_environment_variables(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BENCH_DATA, BENCH_CARDS and BENCH_RESULTS stand for the options of these names."""
    world.dataset("d", range(4))
    for name, place in (("DATA", world.data), ("CARDS", world.cards), ("RESULTS", tmp_path / "kept")):
        monkeypatch.setenv(f"BENCH_{name}", str(place))
    assert run("-d", "random", "-s", "d").exit_code == 0
    assert set(cells("--results", tmp_path / "kept")) == {"random"}


def test_report_tells_where_the_page_is(world: World, tmp_path: Path) -> None:
    """`report` writes the page into the folder asked for and prints its path."""
    world.dataset("d", range(4))
    assert run("-d", "random", "-s", "d", "--data-root", world.data, "--cards", world.cards).exit_code == 0
    told = bench("report", "--out", tmp_path / "page")
    assert told.stdout.startswith(f"wrote {tmp_path / 'page' / 'index.html'} (")
    assert "random" in (tmp_path / "page" / "index.html").read_text()


def test_doctor_through_the_command_line(own: Own) -> None:
    """`doctor` names a damaged file and exits 1; a healthy corpus is exit 0; --json has the paths."""
    arguments = ("doctor", "-s", "mine", "--data", f"mine={own.list}")
    well = bench(*arguments)
    assert well.exit_code == 0
    assert "every file is there and decodes" in well.stdout
    place = truncated_flac(own)
    ill = bench(*arguments)
    assert ill.exit_code == 1
    assert in_order(ill.stdout, "error: 1 of 6 audio files undecodable", str(place), "no decoder reads this file")
    (found,) = json.loads(bench(*arguments, "--json").stdout)["datasets"]
    (error,) = [finding for finding in found["findings"] if finding["severity"] == "error"]
    assert (found["healthy"], error["kind"], error["count"]) == (False, "undecodable", 1)
    assert error["examples"][0].startswith(str(place))


# --- imports ----------------------------------------------------------------------------------------------------------


def test_a_bad_score_file(world: World, tmp_path: Path) -> None:
    """A score file that cannot be taken is exit 1 with file, line and remedy, and leaves the results as they were."""
    world.dataset("d", range(4))
    places = ("--data-root", world.data, "--cards", world.cards)
    file = tmp_path / "scores.txt"
    file.write_text("".join(f"{n} {n}\n" for n in range(4)))
    assert bench("import", file, "--detector", "x", "--dataset", "d", *places).exit_code == 0
    before = tree(Path("results"))
    file.write_text("0 0.5\n1.wav 0.1\n1 0.2\n")
    bad = bench("import", file, "--detector", "x", "--dataset", "d", *places)
    assert bad.exit_code == 1
    assert in_order(bad.stderr, "error: trial '1' has two scores, the first in line 2", f"{file}, line 3", "remedy:")
    assert bench("import", tmp_path / "none", "--detector", "x", "--dataset", "d", *places).exit_code == 2
    assert bench("import", file, "--detector", "x", "--dataset", "dd", *places).exit_code == 2
    assert tree(Path("results")) == before


def test_a_reversed_score_file(world: World, tmp_path: Path) -> None:
    """Scores that look upside down are taken as they are, with a note on standard error."""
    world.dataset("d", range(4))
    file = tmp_path / "scores.txt"
    file.write_text("".join(f"{n} {-(n % 2)}\n" for n in range(4)))
    taken = bench(
        "import", file, "--detector", "x", "--dataset", "d", "--data-root", world.data, "--cards", world.cards
    )
    assert taken.exit_code == 0
    assert "AUC is below 0.5" in taken.stderr
    assert cells()["x"]["auc"] == 0


# --- the installed command --------------------------------------------------------------------------------------------


def test_demo(demo_run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Offline, from nothing: a table in which the trained detector beats the probes, and the path of the page."""
    folder, ran = demo_run
    assert ran.returncode == 0, ran.stderr
    table = [line.split() for line in ran.stdout.splitlines() if " demo  " in line]
    eers = {fields[1]: float(fields[3]) for fields in table}
    probes = {"probe-bandwidth", "probe-duration", "probe-silence"}
    assert set(eers) == {"lfcc-gmm-demo", "xlsr-sls-demo", "random"} | probes
    assert eers.pop("lfcc-gmm-demo") < min(eers.values()) - 10
    assert f"leaderboard: {folder / 'site' / 'index.html'}" in ran.stdout
    assert (folder / "site" / "index.html").is_file()
    assert {place.name for place in folder.iterdir()} == {"data", "results", "site"}
    assert "training lfcc-gmm-demo on demo-train" in ran.stderr
    assert "training xlsr-sls-demo (seed " in ran.stderr
    assert in_order(ran.stdout, "xlsr-sls-demo", "complete, in-domain [1]", "[1] random backbone", "two random layers")
    assert "\x1b" not in ran.stdout + ran.stderr, "no escape sequences outside a terminal"


def test_demo_again_is_done(
    demo_run: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo a second time trains and scores nothing, and the corpus is now ready in the list."""
    folder, _ = demo_run
    monkeypatch.chdir(folder)
    again = bench("demo")
    assert again.exit_code == 0
    assert "nothing to score: 6 of 6 cells were finished before" in again.stdout
    assert in_order(bench("list", "detectors").stdout, "lfcc-gmm-demo", "ready, trained here")
    assert in_order(bench("list", "datasets").stdout, "demo ", "ready, 180 trials")


def test_help_is_light() -> None:
    """`--help` and a mistyped option load neither torch nor pandas."""
    code = (
        "import sys; from click.testing import CliRunner; from bench import cli\n"
        "for words in (['--help'], ['run', '--help'], ['run', '--detectros', 'x']):\n"
        "    CliRunner().invoke(cli.main, words)\n"
        "print({'torch', 'pandas', 'pyarrow', 'sklearn'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("set()\n", "")


def test_every_command_has_help() -> None:
    """Each command explains itself, with the defaults and environment variables of its folders."""
    assert bench("--version").stdout.startswith("bench, version ")
    for name in cli.main.commands:
        told = bench(name, "--help")
        assert told.exit_code == 0
        assert "BENCH_RESULTS" in told.stdout, name
