"""Audits of score files: everything that is wrong with one at once, and nothing with a good one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from bench import doctor
from bench.doctor import Audit, Finding
from bench.errors import UsageError
from bench.workspace import Options, Workspace
from tests.tiny import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def examine(world: World, text: str | bytes, trials: int = 8) -> Audit:
    """Of a score file for a dataset of trials 0 to N - 1, odd ones bona fide, without audio."""
    world.dataset("d", range(trials), audio=False)
    file = world.root / "scores.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (audit,) = doctor.examine_scores(world.workspace(), [file], "d")
    return audit


def kinds(audit: Audit) -> dict[str, Finding]:
    return {finding.kind: finding for finding in audit.findings}


def lines(scores: np.ndarray) -> str:
    return "".join(f"{trial} {float(score)!r}\n" for trial, score in enumerate(scores))


def test_a_good_file(world: World) -> None:
    """Counts, coverage, EER and AUC; no finding."""
    audit = examine(world, lines(np.array([-3, 1, -2, 2, 1.5, 4, -1, 3])))
    assert audit.findings == ()
    assert (audit.facts["lines"], audit.facts["scored"], audit.facts["distinct"]) == (8, 8, 8)
    assert (audit.facts["eer"], audit.facts["auc"]) == (0.25, 15 / 16)
    assert "8 lines; 8 of 8 trials of d have a score (100.00 %)" in audit.text().plain
    assert "EER 25.0000 %, AUC 0.9375" in audit.text().plain


def test_everything_at_once(world: World) -> None:
    """No line hides what is wrong with those behind it; each is told with its number."""
    text = """0 -1
1.wav 1
0.wav 2
alone
2 nan
3 inf
4 many
5 A07 spoof 3
stranger 1
"""
    audit = examine(world, text)
    found = {kind: finding.examples for kind, finding in kinds(audit).items()}
    assert found == {
        "unreadable": ("line 4: a line needs a trial and a score",),
        "not a number": ("line 7: 4: many",),
        "not finite": ("line 5: 2: nan", "line 6: 3: inf"),
        "scored twice": ("line 3: 0, first in line 1",),
        "other label": ("line 8: 5 is spoof, the list says bonafide",),
        "no score": ("6", "7"),
        "no trial": ("line 9: stranger",),
    }
    assert {kind for kind, one in kinds(audit).items() if one.severity == "error"} == found.keys() - {"no trial"}
    assert all(finding.remedy for finding in audit.of("error"))
    assert "2 of 8 trials of d without a line" in kinds(audit)["no score"].what
    assert "over the scored trials alone" in audit.text().plain
    assert json.loads(json.dumps(audit.as_dict()))["healthy"] is False


def test_a_table_with_broken_rows(world: World) -> None:
    """A row of another width is a finding, and the rows behind it count."""
    audit = examine(world, "trial,score\n0,1\n1\n2,3\n")
    assert kinds(audit)["unreadable"].examples == ("line 3: 1 columns where the header has 2",)
    assert audit.facts["scored"] == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "the score file is empty"), (gzip.compress(lines(np.arange(8)).encode())[:-9], "not readable: ")],
    ids=["empty", "gzip cut short"],
)
def test_a_file_that_ends(world: World, content: bytes, told: str) -> None:
    """A file that cannot be read on is an error beside what was read."""
    audit = examine(world, content)
    assert told in kinds(audit)["unreadable"].what
    assert not audit.healthy


def test_another_dataset(world: World) -> None:
    """Where no line is of a trial, the dataset is doubted."""
    audit = examine(world, "a 1\nb 2\n")
    assert kinds(audit)["no score"].count == 8
    assert kinds(audit)["no score"].remedy == "check that the file is of d: the ids are others"
    assert "eer" not in audit.facts


def test_an_inverted_sign(world: World) -> None:
    """An AUC below one half by more than chance is warned of; a detector at chance is not."""
    labels = np.arange(200) % 2
    noise = np.random.default_rng(0).normal(size=200)
    found = kinds(examine(world, lines(noise - 2 * labels), 200))
    assert set(found) == {"inverted"}
    assert found["inverted"].severity == "warning"
    assert "higher seems to mean more spoof" in found["inverted"].what
    assert examine(world, lines(noise), 200).findings == ()


def test_saturation(world: World) -> None:
    """Probabilities that were rounded to 0 and 1, large ties and few distinct scores are warned of."""
    scores = np.linspace(0.25, 0.75, 100)
    assert [finding.severity for finding in examine(world, lines(scores), 100).findings] == ["note"]
    scores[:40], scores[60:] = 0, 1
    found = kinds(examine(world, lines(scores), 100))
    assert found["tie"].what == "40 of 100 trials have the same score 0"
    assert found["few distinct"].what == "only 22 distinct scores among 100"
    assert "40 are exactly 0, 40 exactly 1" in found["probabilities"].what
    assert {finding.severity for kind, finding in found.items() if kind != "inverted"} == {"warning"}


def test_real_scores(shared: Path) -> None:
    """Nothing is wrong with a real file of 31,779 scores, and the EER is the published one."""
    workspace = Workspace(Options(data_root=shared / "golden/scores"))
    (audit,) = doctor.examine_scores(workspace, [shared / "golden/scores/sls_v1_itw.txt.gz"], "itw")
    assert audit.findings == ()
    golden = json.loads((shared / "golden/scores/summary.json").read_text())["score_files"]["sls_v1_itw.txt.gz"]
    assert 100 * audit.facts["eer"] == pytest.approx(golden["eer_percent_tie_aware"], abs=1e-8)
    assert audit.facts["auc"] == pytest.approx(golden["roc_auc"], abs=1e-9)


def test_no_such_file(world: World) -> None:
    """A score file that is not there is wrong usage."""
    world.dataset("d", range(4), audio=False)
    with pytest.raises(UsageError, match="no such score file"):
        doctor.examine_scores(world.workspace(), [world.root / "none.txt"], "d")
