"""Weights for nodes that do not have them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.errors import ScoringError
from bench.executors import shipping
from bench.executors.shipping import Cargo, located, pieces, unpack


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The disk of the node."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    monkeypatch.setattr(shipping, "CHUNK_BYTES", 10)
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


def test_a_file_that_a_node_lacks_is_kept_there(tmp_path: Path) -> None:
    """Under its hash; it is the driver's own where that is there, unchanged."""
    file = tmp_path / "model.pth"
    file.write_bytes(bytes(range(25)))
    cargo = Cargo.of(file)
    assert located(cargo) == file
    chunks = list(pieces(file))
    assert [len(chunk) for chunk in chunks] == [10, 10, 5]
    file.write_bytes(bytes(25))  # other weights of the same name and size
    assert located(cargo) is None
    kept = unpack(cargo, {"model.pth": chunks})
    assert kept.read_bytes() == bytes(range(25))
    assert (kept.name, kept.parent.name) == ("model.pth", cargo.sha256)
    assert located(cargo) == kept
    assert unpack(cargo, {}) == kept  # another worker has just done it


def test_a_folder_of_the_hub_arrives_whole(tmp_path: Path) -> None:
    """All files that a model is loaded from."""
    folder = tmp_path / "hub"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(name)
    cargo = Cargo.of(folder)
    chunks = {file.name: [file.read_bytes()] for file in folder.iterdir()}
    shutil.rmtree(folder)
    kept = unpack(cargo, chunks)
    assert {file.name: file.read_text() for file in kept.iterdir()} == {name: name for name in chunks}
    assert located(cargo) == kept


def test_what_arrives_damaged_is_not_used(tmp_path: Path) -> None:
    """An error, and it is sent again the next time."""
    file = tmp_path / "model.pth"
    file.write_bytes(b"good")
    cargo = Cargo.of(file)
    file.unlink()
    with pytest.raises(ScoringError, match="the weights have arrived damaged"):
        unpack(cargo, {"model.pth": [b"evil"]})
    assert located(cargo) is None
