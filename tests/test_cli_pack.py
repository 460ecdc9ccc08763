"""`bench pack` from the shell."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import cli
from tests.tiny import World


@pytest.fixture
def world(elsewhere: Path) -> World:
    world = World(elsewhere)
    world.dataset("set", range(1, 11))
    world.detector("det")
    return world


def bench(world: World, *arguments: str) -> Result:
    places = ("--data-root", "data", "--cards", "cards")
    return CliRunner().invoke(cli.main, [*arguments, *places], catch_exceptions=False)


def test_a_dataset_is_packed_listed_and_run(world: World) -> None:
    """Below the data root, where it is found without a word when the loose files are gone."""
    done = bench(world, "pack", "set")
    assert done.exit_code == 0, done.output
    digest = world.workspace().dataset("set").digest[:12]
    assert f"packed: 10 trials, 10 files, 1 tar shard, digest {digest}\ndata/packs/set\n" in done.stdout
    assert "packing set: 2.0 kB" in done.stderr
    assert bench(world, "pack", "set").stdout.startswith("packed already: 10 trials")
    (world.data / "audio").rename(world.root / "gone")
    listed = json.loads(bench(world, "list", "datasets", "--json").stdout)["datasets"]
    assert [entry["state"] for entry in listed if entry["name"] == "set"] == ["ready, 10 trials, packed"]
    ran = bench(world, "run", "-d", "det", "-s", "set", "--device", "cpu", "--workers", "0", "--json")
    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["cells"][0]["status"] == "complete"


def test_form_size_and_place(world: World) -> None:
    """Are options; a pack of an own list is named with --data, also under `memory://` and the like."""
    done = bench(world, "pack", "set", "--format", "parquet", "--shard-size", "1kB", "--out", "out")
    assert "10 files, 3 parquet shards" in done.stdout
    assert sorted(place.name for place in Path("out").iterdir()) == [
        "pack.json",
        *(f"set-0000{number}.parquet" for number in range(3)),
        "trials.parquet",
    ]
    own = bench(world, "pack", "calls", "--data", f"calls={world.data / 'set.csv'}", "--out", "calls")
    assert own.exit_code == 0
    with tarfile.open("calls/calls-00000.tar") as tar:
        assert len(tar.getnames()) == 10
    run = ("run", "-d", "det", "-s", "calls", "--device", "cpu", "--workers", "0", "--data", "calls=calls")
    assert bench(world, *run).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("set", "--shard-size", "big"), "'big' is no size; write e.g. 500MB or 1GB", 2),
        (("set", "--shard-size", "0MB"), "'0MB' is no size", 2),
        (("nothing",), "no dataset is called 'nothing'", 2),
        (("set+mulaw",), "the files of set+mulaw are those of set", 2),
        (("set", "--out", "data"), "this folder holds other files than a pack", 2),
    ],
)
def test_refusals(world: World, arguments: tuple[str, ...], message: str, code: int) -> None:
    """Plain words, and nothing is written."""
    done = bench(world, "pack", *arguments)
    assert message in done.output.replace("\n", " ") and done.exit_code == code
    assert not (world.data / "packs").exists()


def test_missing_audio(world: World) -> None:
    """Is counted, and the remedy is that of the card."""
    (world.data / "audio" / "3.wav").unlink()
    done = bench(world, "pack", "set")
    assert done.exit_code == 1
    assert "1 of 10 trials of set have no audio file here" in done.output
    assert "remedy: get set from its author" in done.output
