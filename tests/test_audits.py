"""What doctor keeps for the report: everything but where the corpus lies, and nothing that breaks a reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import audits, doctor
from bench.cli import main
from bench.errors import StoreError
from bench.progress import Silent
from bench.store import Store
from tests.tiny import World

DIGEST = "ab" * 32


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def examined(world: World, limit: int | None = None) -> list[Path]:
    workspace = world.workspace(limit=limit)
    return doctor.keep(workspace, doctor.examine(workspace, ["d"], Silent()))


def test_an_audit_is_kept_and_read(world: World) -> None:
    """The store tells what was found, of how many trials and files, when and by which version."""
    world.dataset("d", range(4))
    store = Store(world.workspace().options.results)
    store.check_writable()
    (place,) = examined(world)
    digest = world.workspace().dataset("d").digest
    assert place == store.root / "d" / f"audit-{digest[:12]}.json"
    kept = store.audit("d", digest)
    assert kept is not None
    assert (kept.digest, kept.trials, kept.files) == (digest, 4, 4)
    assert kept.bench and kept.examined.endswith("+00:00")
    assert {one.name for one in kept.shortcuts} >= {"duration", "loudness"}
    told = doctor.examine(world.workspace(), ["d"], Silent())[0].as_dict()
    assert [one.what for one in kept.findings] == [one["what"] for one in told["findings"]]


def test_examples_are_short_and_say_no_folder(world: World) -> None:
    """Of many missing files the first twenty are kept, without the folder of the corpus; their number stays."""
    world.dataset("d", range(30), audio=False)
    Store(world.workspace().options.results).check_writable()
    (place,) = examined(world)
    assert str(world.root) not in place.read_text()
    kept = audits.read(place, json.loads(place.read_text())["digest"])
    assert kept is not None
    (missing,) = [one for one in kept.findings if one.kind == "missing"]
    assert (missing.count, len(missing.examples), missing.severity) == (30, audits.EXAMPLES, "error")
    assert all("/" not in example for example in missing.examples)


def test_nothing_is_made_where_there_are_no_results(world: World) -> None:
    """Without a results folder, and of a sample, nothing is kept."""
    world.dataset("d", range(12))
    results = world.workspace().options.results
    assert examined(world) == []
    assert not results.exists()
    Store(results).check_writable()
    assert examined(world, limit=4) == []
    assert not list(results.iterdir())


def test_folders_that_files_do_not_share(tmp_path: Path) -> None:
    """Examples of files that have only the root in common stay as they are."""
    finding = {"kind": "missing", "severity": "error", "what": "2 missing", "examples": ["/a/x.wav", "/b/y.wav"]}
    place = tmp_path / "audit.json"
    about = {"digest": DIGEST, "trials": 2, "files": 2, "shortcuts": [], "findings": [finding]}
    audits.keep(place, about, ["/a/x.wav", "/b/y.wav", ""], bench="1", examined="2026-01-01")
    kept = audits.read(place, DIGEST)
    assert kept is not None
    assert kept.findings[0].examples == ["/a/x.wav", "/b/y.wav"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not readable"),
        ("[]", "not a JSON object"),
        ("{}", "of its fields are not valid"),
        (json.dumps({"digest": "cd" * 32, "bench": "1", "examined": "2026", "trials": 1, "files": 1, "findings": [],
                     "shortcuts": []}), "it is of another trial list"),
        (json.dumps({"digest": DIGEST, "bench": "1", "examined": "2026", "trials": 1, "files": 1, "shortcuts": [],
                     "findings": [{"kind": "x", "severity": "fatal", "what": "y"}]}), "1 of its fields are not valid"),
    ],
)  # fmt: skip
def test_a_damaged_audit_is_a_finding(tmp_path: Path, text: str, why: str) -> None:
    """What cannot be read is told as an error of the audit, with what to do, and nothing else is claimed."""
    place = tmp_path / "audit-abababababab.json"
    place.write_text(text)
    kept = audits.read(place, DIGEST)
    assert kept is not None
    (finding,) = kept.findings
    assert (finding.kind, finding.severity, kept.examined, kept.files) == ("damaged", "error", "", 0)
    assert finding.what.startswith("the findings that were kept cannot be read: ")
    assert why in finding.what and place.name in finding.what and str(tmp_path) not in finding.what
    assert finding.remedy == "examine the dataset again"


def test_no_audit(tmp_path: Path) -> None:
    """A list that was not examined has none."""
    assert Store(tmp_path).audit("d", DIGEST) is None


def test_a_folder_that_cannot_be_written(world: World) -> None:
    """Where the results folder takes no file, that is an error of the store."""
    world.dataset("d", range(4))
    results = world.workspace().options.results
    results.mkdir(parents=True)
    (results / "d").write_text("a file where the folder of the dataset belongs")
    with pytest.raises(StoreError, match="cannot be written"):
        examined(world)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("blocked", "told"), [(False, "kept for `bench report`: "), (True, "not kept for `bench report`: ")]
)
def test_the_command_says_what_it_kept(world: World, blocked: bool, told: str) -> None:
    """`bench doctor` names the file on standard error; a results folder that takes none is no failure of the audit."""
    world.dataset("d", range(4))
    world.results.mkdir(parents=True)
    if blocked:
        (world.results / "d").write_text("a file")
    places = ("--data-root", world.data, "--cards", world.cards, "--results", world.results)
    done = CliRunner().invoke(main, ["doctor", "-s", "d", "--json", *map(str, places)])
    assert done.exit_code == 0
    assert told in done.stderr and json.loads(done.stdout)["datasets"][0]["healthy"]
    assert bool(list(world.results.glob("d/audit-*.json"))) is not blocked
