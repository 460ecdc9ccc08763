"""bench.corpora.asv: scores of the organisers' speaker verification, of 2019 and of 2021, and where there are none."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from bench import corpora, perturbations
from bench.corpora import asv
from bench.corpora.asv import Verification
from bench.costs import VerificationRates
from bench.errors import DataError
from bench.registry import datasets
from tests.corpora.conftest import Lay

SCORES_2019 = "asvspoof2019/LA/ASVspoof2019_LA_asv_scores/ASVspoof2019.LA.asv.{0}.gi.trl.scores.txt"
PROTOCOL_2019 = "asvspoof2019/LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{0}.txt"
CM_2019 = "LA_0039 LA_E_2834763 - A11 spoof\nLA_0014 LA_E_6828287 - - bonafide\n"
# Threshold 0.5: the nontarget and the spoof on it are accepted, the target below it is missed.
EVAL = "".join(f"bonafide target {score}\n" for score in (0.2, 2, 3, 4))
EVAL += "".join(f"bonafide nontarget {score}\n" for score in (0, 0.5, 1.5, -2e-1))
EVAL += "A11 spoof 0.5\nA12 spoof 7.25\nA12 spoof 0.4\nA12 spoof -1\n"
RATES = VerificationRates(pmiss=0.25, pfa=0.5, pfa_spoof=0.5)

ASV_2021 = "asvspoof2021/keys/LA/ASV/trial_metadata.txt"
SCORES_2021 = "asvspoof2021/keys/LA/ASV/ASVTorch_Kaldi/score.txt"
CM_2021 = (
    "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval\n"
    "LA_0020 LA_E_1000048 g722 loc_tx bonafide bonafide notrim eval\n"
    "LA_0020 LA_E_1000049 g722 loc_tx A19 spoof notrim progress\n"
    "LA_0021 LA_E_7310647 none - bonafide bonafide only_speech hidden\n"
)
# speaker that is claimed, trial, ..., attack, ASV key, trim, phase; its score
ROWS_2021 = (
    ("LA_0007-alaw-ita_tx", "LA_E_1-alaw-ita_tx", "bonafide", "target", "eval", 5),
    ("LA_0008-alaw-ita_tx", "LA_E_1-alaw-ita_tx", "bonafide", "nontarget", "eval", 1),
    ("LA_0007-alaw-ita_tx", "LA_E_2-alaw-ita_tx", "A07", "spoof", "eval", 6),
    ("LA_0007-alaw-ita_tx", "LA_E_3-alaw-ita_tx", "A08", "spoof", "eval", 0),
    ("LA_0007-alaw-ita_tx", "LA_E_4-alaw-ita_tx", "bonafide", "target", "progress", -5),
    ("LA_0009-alaw-ita_tx", "LA_E_4-alaw-ita_tx", "bonafide", "target", "progress", 5),
    ("LA_0008-alaw-ita_tx", "LA_E_4-alaw-ita_tx", "bonafide", "nontarget", "progress", 1),
    ("LA_0007-alaw-ita_tx", "LA_E_5-alaw-ita_tx", "A07", "spoof", "progress", 9),
)
KEY = "".join(
    f"{who} {trial} alaw ita_tx {attack} {kind} notrim {phase}\n" for who, trial, attack, kind, phase, _ in ROWS_2021
)
SCORES = "".join(f"{who} {trial} {score}\n" for who, trial, *_, score in ROWS_2021)


def load(root: Path, name: str) -> corpora.Dataset:
    """A dataset whose ASV scores are read."""
    dataset = corpora.load(datasets()[name], root)
    assert dataset.asv is None or dataset.asv.files
    return dataset


def lay_2019(lay: Lay, scores: str, split: str = "eval") -> Path:
    protocols = {PROTOCOL_2019.format(part): CM_2019 for part in ("cm.train.trn", "cm.dev.trl", "cm.eval.trl")}
    protocols = {name.replace("cm.cm", "cm"): text for name, text in protocols.items()}
    return lay({**protocols, SCORES_2019.format(split): scores})


def lay_2021(lay: Lay, key: str = KEY, scores: str = SCORES) -> Path:
    return lay({"asvspoof2021/keys/LA/CM/trial_metadata.txt": CM_2021, ASV_2021: key, SCORES_2021: scores})


class TestOf2019:
    def test_rates_and_facts(self, lay: Lay) -> None:
        """Column 2 is the ASV key, column 3 the score; what a manifest needs is rates, counts and the file's hash."""
        dataset = load(lay_2019(lay, EVAL), "asvspoof2019-la")
        assert dataset.asv is not None
        assert dataset.asv.rates == RATES
        assert dataset.facts()["asv"] == {
            "pmiss": 0.25,
            "pfa": 0.5,
            "pfa_spoof": 0.5,
            "trials": {"target": 4, "nontarget": 4, "spoof": 4},
            "files": {"ASVspoof2019.LA.asv.eval.gi.trl.scores.txt": hashlib.sha256(EVAL.encode()).hexdigest()},
        }

    @pytest.mark.parametrize("split", ["eval", "dev"])
    def test_no_split_takes_the_scores_of_another(self, split: str, lay: Lay) -> None:
        """The development list has scores of its own, the training list has none, and eval's are not theirs."""
        root = lay_2019(lay, EVAL, split)
        names = {"eval": "asvspoof2019-la", "dev": "asvspoof2019-la-dev", "train": "asvspoof2019-la-train"}
        assert {part: load(root, name).asv is not None for part, name in names.items()} == {
            part: part == split for part in names
        }

    def test_they_are_no_part_of_the_dataset(self, lay: Lay) -> None:
        """Nothing is said where they are absent, and the digest is the same with them."""
        with_scores = load(lay_2019(lay, EVAL), "asvspoof2019-la")
        (with_scores_file,) = Path(with_scores.trials["path"].iloc[0]).parents[3].rglob("*.scores.txt")
        with_scores_file.unlink()
        without = load(with_scores_file.parents[3], "asvspoof2019-la")
        assert (without.asv, "asv" in without.facts()) == (None, False)
        assert without.digest == with_scores.digest
        assert without.warnings == with_scores.warnings

    def test_not_for_perturbed_audio(self, lay: Lay) -> None:
        """The ASV heard clean audio: behind a perturbed detector it would be another."""
        dataset = load(lay_2019(lay, EVAL), "asvspoof2019-la")
        _, perturbation = perturbations.split("asvspoof2019-la+resample@8k")
        perturbed = dataclasses.replace(dataset, perturbation=perturbation)
        assert "asv" not in perturbed.facts()

    @pytest.mark.parametrize(
        ("text", "message", "line"),
        [
            (EVAL + "bonafide target\n", "2 columns instead of 3", 13),
            (EVAL + "bonafide tar 1.0\n", "unknown ASV key 'tar'", 13),
            (EVAL + "target bonafide 1.0\n", "unknown ASV key 'bonafide'", 13),
            (EVAL + "A11 spoof 1,0\n", "the ASV score '1,0' is no finite number", 13),
            (EVAL + "\nA11 spoof nan\n", "the ASV score 'nan' is no finite number", 14),
            (EVAL + "A11 spoof inf\n", "the ASV score 'inf' is no finite number", 13),
            ("", "the file is empty", 1),
        ],
    )
    def test_malformed(self, text: str, message: str, line: int, lay: Lay) -> None:
        """A line that is none is refused with file, line and remedy."""
        root = lay_2019(lay, text)
        with pytest.raises(DataError, match=message) as caught:
            load(root, "asvspoof2019-la")
        assert caught.value.where == f"{root / SCORES_2019.format('eval')}, line {line}"
        assert caught.value.remedy

    @pytest.mark.parametrize("kind", ["target", "nontarget", "spoof"])
    def test_a_kind_without_trials(self, kind: str, lay: Lay) -> None:
        """Each kind of trial is needed."""
        root = lay_2019(lay, "".join(line for line in EVAL.splitlines(True) if f" {kind} " not in line))
        with pytest.raises(DataError, match=f"no {kind} trial: t-DCF needs") as caught:
            load(root, "asvspoof2019-la")
        assert caught.value.where == str(root / SCORES_2019.format("eval"))

    def test_an_asv_without_a_tdcf(self, lay: Lay) -> None:
        """An ASV that no spoof deceives leaves no t-DCF: told with its rates when the corpus is read."""
        text = "bonafide target 1\nbonafide nontarget 0\nA11 spoof -1\n"
        with pytest.raises(DataError, match=r"not defined behind this ASV system: .* \(pmiss 0, pfa 1, pfa_spoof 0\)"):
            load(lay_2019(lay, text), "asvspoof2019-la")


class TestOf2021:
    def test_a_phase_has_its_own_trials(self, lay: Lay) -> None:
        """The key's last column chooses; target, nontarget and spoof are those of the phase alone."""
        root = lay_2021(lay)
        found = {phase: load(root, f"asvspoof2021-la{phase}").asv for phase in ("", "-progress")}
        sha256 = {
            "trial_metadata.txt": hashlib.sha256(KEY.encode()).hexdigest(),
            "score.txt": hashlib.sha256(SCORES.encode()).hexdigest(),
        }
        assert found == {
            "": Verification(VerificationRates(0, 1, 0.5), {"target": 1, "nontarget": 1, "spoof": 2}, sha256),
            "-progress": Verification(VerificationRates(0, 1, 1), {"target": 2, "nontarget": 1, "spoof": 1}, sha256),
        }

    def test_not_over_all_phases_and_not_for_df(self, lay: Lay) -> None:
        """The organisers have no operating point over all phases, and DF has no speaker verification."""
        places = {"track": "LA", "phase": "all", "places": ["asvspoof2021"]}
        root = lay_2021(lay)
        assert load(root, "asvspoof2021-la-all").asv is None
        reader = "bench.corpora.asvspoof2021:read"
        assert asv.verification(reader, root, places | {"track": "DF", "phase": "eval"}) is None
        assert asv.verification("bench.corpora.in_the_wild:read", root, {}) is None

    @pytest.mark.parametrize(
        "place", ["LA-keys-full/keys/LA/ASV", "LA-keys-stage-1/keys/ASV", "keys/LA/ASV", "keys/ASV"]
    )
    @pytest.mark.parametrize("absent", ["", "trial_metadata.txt", "ASVTorch_Kaldi/score.txt"])
    def test_places(self, place: str, absent: str, lay: Lay) -> None:
        """As the archives unpack; where one of the two files is absent, there is no ASV and nothing to tell."""
        files = {"trial_metadata.txt": KEY, "ASVTorch_Kaldi/score.txt": SCORES}
        files = {f"asvspoof2021/{place}/{name}": text for name, text in files.items() if name != absent}
        root = lay({"asvspoof2021/keys/LA/CM/trial_metadata.txt": CM_2021, **files})
        assert (load(root, "asvspoof2021-la").asv is None) == bool(absent)

    @pytest.mark.parametrize(
        ("old", "new", "message", "line"),
        [
            (" 6\n", " 6 7\n", "4 columns instead of 3", 3),
            (" 6\n", " six\n", "the ASV score 'six' is no finite number", 3),
            ("LA_E_2-", "LA_E_9-", r"trial 'LA_E_9-alaw-ita_tx', but 'LA_E_2-alaw-ita_tx' in line 3 of trial_m", 3),
            ("LA_0008-alaw-ita_tx LA_E_1", "LA_0003-x LA_E_1", r"speaker 'LA_0003-x', but 'LA_0008-alaw-ita_tx' in", 2),
        ],
    )
    def test_malformed_scores(self, old: str, new: str, message: str, line: int, lay: Lay) -> None:
        """The two files are joined row by row: a row of another trial, or none, is refused with its line."""
        assert old in SCORES
        root = lay_2021(lay, scores=SCORES.replace(old, new, 1))
        with pytest.raises(DataError, match=message) as caught:
            load(root, "asvspoof2021-la")
        assert caught.value.where == f"{root / SCORES_2021}, line {line}"
        assert caught.value.remedy

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("A07 spoof notrim eval", "A07 deepfake notrim eval", "unknown ASV key 'deepfake'"),
            ("A07 spoof notrim eval", "A07 spoof notrim eva", "unknown phase 'eva'"),
            ("A07 spoof notrim eval", "A07 spoof notrim", "7 columns instead of 8"),
        ],
    )
    def test_malformed_key(self, old: str, new: str, message: str, lay: Lay) -> None:
        """The whole key is checked, whichever phase is read."""
        root = lay_2021(lay, key=KEY.replace(old, new, 1))
        with pytest.raises(DataError, match=message) as caught:
            load(root, "asvspoof2021-la-progress")
        assert caught.value.where == f"{root / ASV_2021}, line 3"
        assert caught.value.remedy

    def test_files_of_different_length(self, lay: Lay) -> None:
        """A score file cut at the end of a line has fewer rows than the key."""
        root = lay_2021(lay, scores="".join(SCORES.splitlines(True)[:-1]))
        with pytest.raises(DataError, match="7 ASV scores for the 8 trials of trial_metadata") as caught:
            load(root, "asvspoof2021-la")
        assert caught.value.where == str(root / SCORES_2021)

    def test_a_phase_without_trials(self, lay: Lay) -> None:
        """Targets of other phases do not stand in."""
        with pytest.raises(DataError, match="no target trial"):
            load(lay_2021(lay), "asvspoof2021-la-hidden")


def test_damaged_scores_cost_the_tdcf_alone(lay: Lay) -> None:
    """The dataset is read, and its facts say why there is no t-DCF: nothing else needs these scores."""
    dataset = corpora.load(datasets()["asvspoof2019-la"], lay_2019(lay, "bonafide target\n"))
    facts = dataset.facts()
    assert "asv" not in facts
    assert facts["warnings"][-1].startswith("no t-DCF: 2 columns instead of 3 (")
