"""Accepted results beside a store: every verdict from real files, and what accepting leaves behind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import accepted, gate, metrics, scored
from bench.accepted import ALONE, AcceptedScores
from bench.cellwriter import CellWriter
from bench.errors import UsageError
from bench.files import write_json
from bench.gate import Acceptance, Gate
from bench.regression import Verdict
from bench.scored import Scored, TrialLists
from bench.store import Cell, Store
from bench.trials import BONAFIDE, SPOOF, digest, validate
from tests.tiny import files_below

COUNT = 200  # trials of each class
NOISE = np.random.default_rng(0).normal(size=2 * COUNT)
GOOD = np.concatenate((np.linspace(0, 4, COUNT), np.linspace(-3, 1, COUNT)))  # EER 12.5 %
WEIGHTS = {"sha256": "w"}


def trial_list(count: int = COUNT, **columns: Any) -> pd.DataFrame:
    """So many trials of each class; the order of the rows is not that of the ids."""
    labels = [BONAFIDE] * count + [SPOOF] * count
    return validate(pd.DataFrame({"trial": [f"t{n}" for n in range(2 * count)], "label": labels, **columns}), "list")


NAMED = accepted.factors(trial_list())


class Place:
    """A store and a leaderboard.yml, in a folder of their own."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.file = root, Store(root / "results"), root / "leaderboard.yml"

    def cell(self, scores: np.ndarray, detector: str = "det", dataset: str = "set", **manifest: Any) -> Cell:
        """A finished cell of these scores, now the current one of its pair."""
        trials = manifest.pop("trials", None)
        trials = trial_list() if trials is None else trials
        key = hashlib.sha256(f"{detector} {dataset} {manifest}".encode() + scores.tobytes()).hexdigest()
        identity = digest(trials)
        self.store.write_trials(dataset, identity, trials)
        card = {"name": detector, "model": "m:M", "arguments": {}, "audio": {}, "weights": WEIGHTS}
        about = {
            "key": key,
            "scorer": "s",
            "precision": "fp32",
            "dataset": {"name": dataset, "digest": identity, "trials": len(trials)},
            "detector": {**card, **manifest.pop("card", {})},
            **manifest,
        }
        writer = CellWriter(self.store, about, trials)
        writer.add(pd.DataFrame({"trial": trials["trial"], "score": scores, "seconds": 1.0, "note": ""}))
        cell = writer.finish({})
        self.store.resolve(dataset, detector, cell.key)
        return cell

    def band(self, *scores: np.ndarray, detector: str = "det") -> None:
        """A detector of several seeds."""
        cells = {seed: self.cell(one, detector, seed=seed) for seed, one in enumerate(scores)}
        self.store.resolve_band(cells)

    def accept(self, **options: Any) -> list[Acceptance]:
        gate = Gate(self.store, self.file, make=True)
        return gate.accept(gate.check(**options))

    def check(self, tolerance: float | None = None, **options: Any) -> list[Verdict]:
        return Gate(self.store, self.file, tolerance=tolerance).check(**options)

    def verdict(self, tolerance: float | None = None) -> Verdict:
        (found,) = self.check(tolerance)
        return found

    @property
    def scores(self) -> Path:
        return accepted.scores_file(self.file, "set", "det")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A detector with an EER of 12.5 %, accepted."""
    found = Place(tmp_path)
    found.cell(GOOD)
    assert found.accept() == [Acceptance("set", "det", True, "new: 12.5000 %")]
    return found


def moved(by: float) -> np.ndarray:
    """The bona fide scored lower by so much: for 1.0 the EER is 25 %."""
    return GOOD - by * (np.arange(2 * COUNT) < COUNT)


class TestVerdicts:
    def test_an_unchanged_store(self, place: Place) -> None:
        """The same scores are identical, and nothing more is said."""
        found = place.verdict()
        assert (found.kind, found.told, found.accepted, found.eer, found.change) == (
            *("identical", "the same scores", 0.125, 0.125),
            0.0,
        )

    def test_other_scores_of_the_same_order(self, place: Place) -> None:
        """Another scale moves no EER: equivalent, without an interval."""
        place.cell(2 * GOOD)
        found = place.verdict()
        assert (found.kind, found.difference) == ("equivalent", None)
        assert found.told == "the same EER, within the tolerance of 0.05 pp; other key"

    def test_a_real_regression(self, place: Place) -> None:
        """Worse in every draw: regressed, with interval, p value, unit, the warnings of the unit and a remedy."""
        place.cell(moved(1.0))
        found = place.verdict()
        assert found.difference is not None
        assert found.unit is not None
        assert (found.kind, found.eer, found.fails) == ("regressed", 0.25, True)
        assert found.change is not None
        assert found.difference.value == found.change / 100 == 0.125
        assert 0.08 < found.difference.interval.low < 0.125 < found.difference.interval.high < 0.18
        assert found.told.startswith("12.5000 pp worse, the tolerance is 0.05 pp; its 95 % interval +")
        assert found.told.endswith("drawn one by one, as if independent: too narrow")
        assert found.remedy == "find what changed the scores; if it is meant, accept it with --accept"

    def test_a_flipped_sign(self, place: Place) -> None:
        """Higher = more spoof: regressed."""
        place.cell(-GOOD)
        assert (place.verdict().kind, place.verdict().eer) == ("regressed", 0.875)
        assert place.verdict().notes[0] == "above 50 %: the scores may be inverted, higher has to mean more bona fide"

    def test_noise_on_a_small_list(self, place: Place) -> None:
        """Worse than the tolerance while the interval holds zero: uncertain, and no failure."""
        place.cell(GOOD + 0.3 * NOISE)
        found = place.verdict()
        assert found.difference is not None
        assert (found.kind, found.fails, found.difference.clear) == ("uncertain", False, False)
        assert 0.05 < (found.change or 0) < 2
        assert " holds zero, p = 0." in found.why

    def test_without_accepted_scores_the_tolerance_decides(self, place: Place) -> None:
        """The same noise is a regression where no accepted scores are at hand; the same store is equivalent."""
        place.scores.unlink()
        assert place.verdict().kind == "equivalent"
        place.cell(GOOD + 0.3 * NOISE)
        found = place.verdict()
        assert (found.kind, found.difference) == ("regressed", None)
        assert "no accepted scores, hence no interval" in found.why

    def test_an_improvement(self, place: Place) -> None:
        """Better than the tolerance: improved, and no failure."""
        place.cell(moved(-0.5))
        found = place.verdict()
        assert (found.kind, found.fails, found.change) == ("improved", False, -6.0)

    def test_the_nearest_tolerance_counts(self, place: Place) -> None:
        """That of the cell before that of the file, and one given for this check before both."""
        place.cell(moved(1.0))
        text = place.file.read_text()
        place.file.write_text(text.replace("tolerance: 0.05", "tolerance: 13"))
        assert place.verdict().kind == "equivalent"
        place.file.write_text(text + "    tolerance: 12.5\n")
        assert place.verdict().kind == "equivalent"
        assert place.verdict(tolerance=12.4).kind == "regressed"

    @pytest.mark.parametrize("tolerance", [float("nan"), float("inf"), -0.1])
    def test_a_tolerance_that_lets_all_pass_is_wrong_usage(self, place: Place, tolerance: float) -> None:
        """NaN is above nothing: it would call every detector equivalent."""
        with pytest.raises(UsageError, match="a tolerance is a number of percentage points, 0 or more"):
            place.check(tolerance)

    def test_another_trial_list(self, place: Place) -> None:
        """Dropped and relabelled trials: not comparable, with counts and the first ids of each side, and no change."""
        trials = trial_list(COUNT - 5)
        place.cell(GOOD[: len(trials)], trials=trials)
        found = place.verdict()
        assert (found.kind, found.fails, found.change) == ("not comparable", True, None)
        told = (
            "400 trials accepted, 390 now: 390 trials are in both, 10 gone (the first 't390'), "
            "5 in both with another label (the first 't195')"
        )
        assert found.why.endswith(f" now): {told}")
        assert found.remedy.startswith("score the accepted list; or accept the new one with --accept")

    @pytest.mark.parametrize(("kept", "told"), [(True, "400"), (False, "an unknown number")])
    def test_another_trial_list_in_a_fresh_store(self, place: Place, kept: bool, told: str) -> None:
        """Where the accepted list is not stored the accepted scores tell its length, if they are kept."""
        place.store = Store(place.root / "fresh")
        trials = trial_list(3)
        place.cell(GOOD[: len(trials)], trials=trials)
        if not kept:
            place.scores.unlink()
        assert place.verdict().why.endswith(f" now): 6 trials now, {told} accepted")

    def test_a_cell_that_is_not_there(self, place: Place) -> None:
        """Missing, with the command that scores it; a blocked one with why it is blocked."""
        place.store = Store(place.root / "fresh")
        place.cell(GOOD, "other")
        missing, new = place.check()
        assert (missing.kind, missing.why) == ("missing", "accepted, not in the store")
        assert missing.remedy == "score it: `bench run -d det -s set`"
        assert (new.kind, new.detector, new.why, new.fails) == ("new", "other", "nobody accepted it yet", False)
        place.store.block("set", "det", "no weights", "fetch them")
        blocked = place.check()[0]
        assert (blocked.kind, blocked.why, blocked.remedy) == ("missing", "blocked: no weights", "fetch them")

    def test_what_is_new_is_told(self, place: Place) -> None:
        """New weights under the same name are compared, and the verdict says so."""
        place.cell(2 * GOOD, card={"weights": {"sha256": "v"}}, scorer="t")
        assert (place.verdict().kind, place.verdict().notes) == ("equivalent", ("new weights",))

    def test_no_draws_for_what_cannot_fail(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interval is drawn only for what is worse than the tolerance."""
        monkeypatch.setattr(gate, "replicate", None)
        for scores, kind in ((GOOD, "identical"), (2 * GOOD, "equivalent"), (moved(-0.5), "improved")):
            place.cell(scores)
            assert (place.verdict().kind, place.verdict().difference) == (kind, None)
        assert place.verdict().told == "6.0000 pp better, the tolerance is 0.05 pp; other key"

    def test_where_it_got_worse(self, tmp_path: Path) -> None:
        """A collapse on one attack is uncertain, as many draws leave it out: its name and its EERs are told first."""
        place, number = Place(tmp_path), np.arange(COUNT)
        spoof = np.arange(2 * COUNT) >= COUNT
        attacks = ["-"] * COUNT + [f"A{n % 10}" for n in number]  # what it holds for bona fide is not looked at
        speakers = [f"S{n // 20}" for n in number] * 2
        trials = trial_list(attack=attacks, speaker=speakers)
        place.cell(GOOD, trials=trials)
        place.accept()
        collapsed = GOOD + 9 * (spoof & (np.array(attacks) == "A7"))
        place.cell(collapsed, trials=trials)
        found = place.verdict()
        old, new = (
            metrics.eer(np.r_[scores[:COUNT], scores[COUNT:][number % 10 == 7]], [1] * COUNT + [0] * 20).eer
            for scores in (GOOD, collapsed)
        )
        assert (found.kind, found.fails) == ("uncertain", False)
        assert new == 1
        assert found.notes[0] == f"most in attack A7: {100 * old:.2f} -> 100.00 %"
        assert found.notes[1].startswith("most in speaker S")
        place.cell(GOOD - (2 + 9 * (np.array(speakers) == "S4")) * ~spoof, trials=trials)
        found = place.verdict()
        assert (found.kind, found.notes[1]) == ("regressed", "most in speaker S4: 0.00 -> 100.00 %")
        place.store.write_trials("set", digest(trials), trial_list(attack=attacks))
        notes = place.verdict().notes
        assert notes[0].startswith("most in attack A")
        assert not any("in speaker" in note for note in notes), "they are not drawn"

    def test_a_list_with_other_names(self, place: Place) -> None:
        """Speakers and attacks are no part of the digest, yet the draws follow from them: told until accepted anew."""
        renamed = trial_list(attack=[""] * COUNT + ["A1"] * COUNT)
        place.store.write_trials("set", digest(renamed), renamed)
        told = "speakers or attacks of the list are named otherwise than when it was accepted"
        assert (place.verdict().kind, place.verdict().notes) == ("identical", (told,))
        assert place.accept()[0].told == "unchanged: 12.5000 %"
        assert place.verdict().notes == ()

    def test_several_seeds(self, tmp_path: Path) -> None:
        """The mean of the seeds counts, on both sides, and another number of seeds is told."""
        place = Place(tmp_path)
        place.band(GOOD, moved(1.0))
        assert place.accept()[0].told == "new: 18.7500 %"
        assert place.verdict().kind == "identical"
        place.band(moved(1.0), moved(1.0))
        found = place.verdict()
        assert (found.kind, found.accepted, found.eer) == ("regressed", 0.1875, 0.25)
        assert found.difference is not None
        assert found.difference.value == 0.0625
        assert 0.02 < found.difference.interval.low < 0.0625 < found.difference.interval.high < 0.11
        place.cell(moved(-0.5))
        found = place.verdict()
        assert found.kind == "improved"
        assert found.notes[:2] == ("other key", "the mean of 1 seed, accepted was that of 2")

    def test_seeds_of_an_accepted_number_alone(self, tmp_path: Path) -> None:
        """Without accepted scores nobody knows of how many seeds it is the mean: told where there may be several."""
        place, told = Place(tmp_path), "how many seeds the accepted mean is of is not known"
        recipe = {"recipe": {"seed": 3}}
        place.cell(GOOD, card={**recipe, "weights": {"sha256": "w", "seed": 3}})
        place.accept()
        place.scores.unlink()
        alone = "no accepted scores are here: compared by EER alone"
        assert place.verdict().notes == (alone,)
        place.cell(GOOD, card={**recipe, "weights": {"sha256": "w", "seed": 4}})
        assert place.verdict().notes == ("other key", told, alone)
        place.band(GOOD, GOOD)
        assert place.verdict().notes == ("other key", told, alone)


class TestOlderCells:
    """What is stored of a pair may be older than its last run: good to look at, nothing to pass a check with."""

    def test_blocked_by_the_last_run(self, place: Place) -> None:
        """Missing, with the reason, though its older scores are the accepted ones; and nothing to accept."""
        place.store.block("set", "det", "no weights", "fetch them")
        found = place.verdict()
        why = "the last run could not score it: no weights; what is stored is older"
        assert (found.kind, found.fails, found.why, found.remedy) == ("missing", True, why, "fetch them")
        assert place.accept() == [Acceptance("set", "det", False, why)]
        place.store.block("set", "det", "no weights", "")
        assert place.verdict().remedy == "score it: `bench run -d det -s set`"

    @pytest.mark.parametrize("status", ["running", "failed", "complete"])
    def test_a_newer_cell_that_no_run_ended(self, place: Place, status: str) -> None:
        """Invalid, with what became of the newer one."""
        cell = place.cell(GOOD)
        assert cell.path is not None
        reason = {"failed": "no memory", "complete": ""}.get(status, "")
        about = {**cell.manifest, "key": "f" * 64, "status": status, "reason": reason}
        newer = cell.path.with_name("f" * 12) / "cell.json"
        write_json(newer, {**about, "started": "2000-01-01T00:00:00+00:00"})
        assert place.verdict().kind == "identical", "the last run came after it"
        write_json(newer, {**about, "started": "9999-01-01T00:00:00+00:00"})
        told = {"failed": "no memory", "complete": "its run was interrupted"}.get(
            status, "interrupted or still running"
        )
        found = place.verdict()
        assert (found.kind, found.fails) == ("invalid", True)
        assert found.why.startswith(f"a newer cell of it is {status}: {told}")
        assert found.why.endswith("; what was finished before is older")
        assert found.remedy

    def test_nobody_asked_for_it(self, place: Place) -> None:
        """What is not accepted is new, and the reason says that it could not be accepted."""
        place.cell(GOOD, "other")
        place.store.block("set", "other", "no weights", "fetch them")
        _, found = sorted(place.check(), key=lambda one: one.detector)
        assert (found.kind, found.why.startswith("the last run could not score it")) == ("new", True)


class TestInvalid:
    @pytest.mark.parametrize("status", ["failed", "running"])
    def test_an_unfinished_cell(self, place: Place, status: Any) -> None:
        """Failed or interrupted: invalid, with its reason."""
        cell = place.cell(GOOD)
        assert cell.path is not None
        write_json(cell.path / "cell.json", {**cell.manifest, "status": status, "reason": "no memory"})
        reason = {"failed": "failed: no memory", "running": "running: interrupted or still running: 0 of 400"}[status]
        assert place.verdict().kind == "invalid"
        assert place.verdict().why.startswith(reason)

    @pytest.mark.parametrize("allowed", [False, True])
    def test_an_incomplete_cell(self, place: Place, allowed: bool) -> None:
        """A number over the rest is no number to compare, even where --allow-missing accepted it."""
        lacking = np.where(np.arange(2 * COUNT) == 7, np.nan, GOOD)
        place.cell(lacking, allow_missing=allowed)
        found = place.verdict()
        assert (found.kind, found.eer) == ("invalid", None)
        assert found.why.startswith("incomplete: 1 of 400 files could not be scored")

    @pytest.mark.parametrize(
        ("column", "values", "told"),
        [
            ("score", np.where(np.arange(2 * COUNT) == 7, np.inf, GOOD), "1 of 400 scores are not finite"),
            ("score", np.where(np.arange(2 * COUNT) == 7, np.nan, GOOD), "says complete, but 1 of 400 trials have no"),
            ("score", ["x"] * (2 * COUNT), "scores.parquet has no trials and scores"),
            ("trial", ["t0"] * (2 * COUNT), "stored scores repeat a trial"),
            ("trial", range(2 * COUNT), "400 stored scores repeat a trial or are of none"),
        ],
    )
    def test_scores_that_are_none(self, place: Place, column: str, values: Any, told: str) -> None:
        """Not finite, missing, repeated or no numbers: invalid, never an EER of what is left."""
        cell = place.cell(GOOD)
        assert cell.path is not None
        cell.scores().assign(**{column: values}).to_parquet(cell.path / "scores.parquet")
        assert place.verdict().kind == "invalid"
        assert told in place.verdict().why

    @pytest.mark.parametrize("name", ["scores.parquet", "cell.json"])
    @pytest.mark.parametrize("content", [b"", b"\xff{]", b"{}"])
    def test_damaged_files(self, place: Place, name: str, content: bytes) -> None:
        """A cut score file or manifest is the verdict of its own cell, with a remedy, and hides no other."""
        place.cell(GOOD, "other")
        cell = place.cell(GOOD)
        assert cell.path is not None
        (cell.path / name).write_bytes(content)
        damaged, other = place.check()
        assert (damaged.detector, damaged.kind, other.kind) == ("det", "invalid", "new")
        assert str(cell.path) in damaged.why
        assert damaged.remedy

    def test_a_damaged_latest_json(self, place: Place) -> None:
        """What the last run resolved a pair to cannot be told: invalid, and the other pairs are checked."""
        place.cell(GOOD, "other")
        (place.store.pair_folder("set", "det") / "latest.json").write_text('{"band": [{"key": "x"}]}')
        damaged, other = place.check()
        assert (damaged.kind, other.kind) == ("invalid", "new")
        assert damaged.why.startswith("failed: not what a run resolves a pair to")
        assert damaged.remedy == "delete it and run again"

    @pytest.mark.parametrize("card", [{"weights": "abc"}, {"weights": [1]}])
    def test_a_manifest_of_other_types(self, place: Place, card: Mapping[str, Any]) -> None:
        """Weights that are no mapping are the verdict of their own cell, and it is not accepted."""
        place.cell(GOOD, "other")
        cell = place.cell(GOOD)
        assert cell.path is not None
        write_json(cell.path / "cell.json", {**cell.manifest, "detector": {**cell.manifest["detector"], **card}})
        damaged, other = place.check()
        assert (damaged.kind, other.kind) == ("invalid", "new")
        assert damaged.why.startswith("failed: not a cell of this version: detector.weights: Input should be a valid ")
        assert [one.done for one in place.accept()] == [False, True]

    def test_a_manifest_without_a_trial_list(self, place: Place) -> None:
        """What was measured cannot be told: invalid."""
        cell = place.cell(GOOD)
        assert cell.path is not None
        write_json(cell.path / "cell.json", {**cell.manifest, "dataset": {"name": "set", "trials": 400}})
        assert place.verdict().why == f"its manifest names no trial list ({cell.path})"

    def test_one_class(self, tmp_path: Path) -> None:
        """No error rate: new ones are told, an accepted one could not be."""
        place = Place(tmp_path)
        trials = trial_list()[:COUNT]
        place.cell(GOOD[:COUNT], trials=trials)
        (refused,) = place.accept()
        assert (refused.done, refused.told) == (False, "no spoofed trial among 200: error rates need both classes")
        assert not place.file.exists()

    def test_a_seed_without_a_number(self, tmp_path: Path) -> None:
        """One failed seed is no mean."""
        place = Place(tmp_path)
        place.band(GOOD, moved(1.0))
        place.accept()
        (_, second) = place.store.current()[0].band.values()
        assert second.path is not None
        write_json(second.path / "cell.json", {**second.manifest, "status": "failed", "reason": "no memory"})
        assert (place.verdict().kind, place.verdict().why) == ("invalid", "seed 1 is failed: no memory")

    @pytest.mark.parametrize(
        ("scores", "told"),
        [
            (AcceptedScores("0" * 64, NAMED, {ALONE: GOOD}), "they are of another trial list than the entry"),
            (AcceptedScores(digest(trial_list()), NAMED, {ALONE: GOOD[1:]}), "399 scores for 400 trials"),
            (AcceptedScores(digest(trial_list()), NAMED, {ALONE: NOISE * np.nan}), "400 scores are not finite"),
            (AcceptedScores(digest(trial_list()), NAMED, {ALONE: NOISE}), "leaderboard.yml says 12.5000 %"),
            (None, "not readable"),
        ],
    )
    def test_accepted_scores_that_cannot_be_used(self, place: Place, scores: AcceptedScores | None, told: str) -> None:
        """Of another list, length or EER, not finite, damaged: invalid until accepted anew."""
        if scores is None:
            place.scores.write_bytes(place.scores.read_bytes()[:-9])
        else:
            accepted.write_scores(place.scores, scores)
        found = place.verdict()
        assert found.kind == "invalid"
        assert told in found.why
        assert str(place.scores) in found.why
        assert "--accept" in found.remedy
        place.accept()
        assert place.verdict().kind == "identical"


class TestAccepting:
    def test_only_what_changed_is_written(self, place: Place) -> None:
        """Unchanged cells keep their files byte for byte; a changed one is told old -> new."""
        place.cell(GOOD, "other")
        place.accept()
        before = {file: file.stat().st_mtime_ns for file in files_below(place.root / "reports")}
        place.cell(moved(1.0), "other")
        text, told = place.file.read_text(), place.accept()
        assert [one.told for one in told] == ["unchanged: 12.5000 %", "12.5000 -> 25.0000 %, another key"]
        after = {file: file.stat().st_mtime_ns for file in files_below(place.root / "reports")}
        assert [file.stem for file in before if before[file] != after[file]] == ["other"]
        assert place.file.read_text() != text
        assert [one.kind for one in place.check()] == ["identical", "identical"]

    def test_every_cell_is_measured_once(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the check has read is what is accepted."""
        place.cell(moved(1.0))
        place.cell(GOOD, "other")
        real, read = scored.load, list[str]()

        def load(cell: Cell, lists: TrialLists) -> Scored:
            read.append(cell.detector)
            return real(cell, lists)

        monkeypatch.setattr(scored, "load", load)
        assert [one.done for one in place.accept()] == [True, True]
        assert sorted(read) == ["det", "other"]

    def test_more_seeds_than_are_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not accepted: what is written must be what can be read."""
        place = Place(tmp_path)
        monkeypatch.setattr(gate, "MOST_SEEDS", 1)
        place.band(GOOD, moved(1.0))
        told = "the scores of 1 seeds are kept at most, these are 2"
        assert place.accept() == [Acceptance("set", "det", False, told)]

    def test_a_new_trial_list_is_accepted(self, place: Place) -> None:
        """Digest, key, EER and scores are those of the new list."""
        trials = trial_list(COUNT - 5)
        place.cell(GOOD[: len(trials)], trials=trials)
        (told,) = place.accept()
        assert (told.done, "another trial list" in told.told) == (True, True)
        assert accepted.read(place.file).accepted[0].digest == digest(trials)
        assert place.verdict().kind == "identical"

    def test_what_has_no_number_is_named_and_left_alone(self, place: Place) -> None:
        """A missing and a failed cell keep their entries; the valid one is accepted."""
        place.cell(GOOD, "broken")
        place.cell(GOOD, "gone")
        place.accept()
        text = place.file.read_text()
        place.store = Store(place.root / "fresh")
        place.cell(moved(1.0))
        place.cell(np.where(GOOD[3] == GOOD, np.nan, GOOD), "broken")
        found = {one.detector: one for one in place.accept()}
        assert [found[name].done for name in ("det", "broken", "gone")] == [True, False, False]
        assert found["gone"].told == "accepted, not in the store"
        assert found["broken"].told.startswith("incomplete: 1 of 400")
        kept = accepted.read(place.file).accepted
        assert [(one.detector, one.eer) for one in kept] == [("det", 25.0), ("broken", 12.5), ("gone", 12.5)]
        assert place.file.read_text().count("\n") == text.count("\n")

    def test_scores_are_written_before_the_file(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A kill in between leaves scores that the entry contradicts: told, and mended by accepting again."""
        text = place.file.read_text()
        place.cell(moved(1.0))

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(accepted, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                place.accept()
        assert place.file.read_text() == text
        found = place.verdict()
        assert (found.kind, "the accepted scores give an EER of 25.0000 %" in found.why) == ("invalid", True)
        place.accept()
        assert place.verdict().kind == "identical"

    def test_a_manifest_with_a_key_that_is_none(self, place: Place) -> None:
        """What leaderboard.yml would refuse to read is not written."""
        cell = place.cell(moved(1.0))
        assert cell.path is not None
        write_json(cell.path / "cell.json", {**cell.manifest, "key": "x"})
        place.store.resolve("set", "det", "x")
        (told,) = place.accept()
        assert (told.done, told.told.startswith("its manifest is damaged: String should match pattern")) == (
            False,
            True,
        )

    def test_scores_are_kept_by_trial_not_by_row(self, tmp_path: Path) -> None:
        """The same trials in another order of the protocol have the same digest, and are identical."""
        place = Place(tmp_path)
        place.cell(GOOD)
        place.accept()
        order = np.random.default_rng(1).permutation(2 * COUNT)
        place.store = Store(tmp_path / "fresh")
        place.cell(GOOD[order], trials=trial_list().iloc[order].reset_index(drop=True))
        assert place.verdict().kind == "identical"


class TestBoards:
    BOARDS = (
        "boards:\n  here: {detectors: [det, gone], datasets: [set]}\n"
        "  probes: {detectors: ['probe-*'], datasets: [set]}\n"
        "  all: {detectors: [all], datasets: [all]}\n"
    )

    @pytest.fixture
    def board(self, place: Place) -> Place:
        """Imports, cards that are listed and not, and a sample of a list, all in the store and accepted."""
        for detector in ("other", "probe-own", "probe-silence", "aasist-retrained"):
            place.cell(GOOD, detector)
        for dataset in ("set:9", "itw", "demo"):
            place.cell(GOOD, dataset=dataset)
        place.accept()
        place.file.write_text(self.BOARDS + place.file.read_text())
        return place

    @pytest.mark.parametrize(
        ("name", "pairs"),
        [
            ("here", {"set det": "identical", "set gone": "missing"}),
            ("probes", {"set probe-own": "identical", "set probe-silence": "identical"}),
            (
                "all",
                dict.fromkeys(
                    ["itw det", "set det", "set other", "set probe-own", "set probe-silence", "set:9 det"], "identical"
                ),
            ),
        ],
    )
    def test_a_board_limits_to_its_cells(self, board: Place, name: str, pairs: Mapping[str, str]) -> None:
        """As `bench run` reads it: `all` is what is listed, and accepted names on no card; a name must be there."""
        assert {f"{one.dataset} {one.detector}": one.kind for one in board.check(board=name)} == pairs

    def test_names_choose_further(self, board: Place) -> None:
        """Names, globs and comma lists of what is accepted or stored; one that fits nothing is wrong usage."""
        found = board.check(detectors=["probe-*,other"], datasets=["s*"])
        assert sorted(one.detector for one in found) == ["other", "probe-own", "probe-silence"]
        with pytest.raises(UsageError, match="is called 'othr'"):
            board.check(detectors=["othr"])

    def test_nothing_accepted(self, tmp_path: Path) -> None:
        """A board still names what must be there."""
        place = Place(tmp_path)
        place.cell(GOOD)
        place.file.write_text("boards: {here: {detectors: [det, gone], datasets: [set]}}\naccepted: []\n")
        assert [(one.detector, one.kind) for one in place.check()] == [("det", "new")]
        missing, new = place.check(board="here")
        assert (missing.detector, missing.kind, missing.why) == ("gone", "missing", "on the board, not in the store")
        assert (new.detector, new.kind) == ("det", "new")
