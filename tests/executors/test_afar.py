"""A training on another machine, here without one: what comes back is always something to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import training
from bench.corpora import Dataset
from bench.errors import BenchError
from bench.executors import afar
from bench.executors.afar import Afar, News, Relay, Shared, bring_home, state_files
from bench.executors.shipping import scratch
from bench.progress import Silent
from tests.training import toys


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def begin(self, what: str, total: int) -> None:
        self.lines.append(f"begin {what} {total}")

    def advance(self, count: int) -> None:
        self.lines.append(f"advance {count}")

    def end(self) -> None:
        self.lines.append("end")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The disk of the node."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(afar, "NEWS_SECONDS", 0.01)
    monkeypatch.setattr(afar, "CHUNK_BYTES", 1_000)
    return tmp_path / "node"


def begin(lists: Mapping[str, Dataset], home: Path, model: str = "Toy") -> Afar:
    state = {file.name: iter([file.read_bytes()]) for file in state_files(home)}
    card = toys.card({"body": toys.stage(epochs=4)}, model)
    materials = training.Materials(lists, {})
    return Afar(card, materials, state, device="cpu", threads=1, workers=0, feature_limit=0)


def to_the_end(one: Afar, home: Path) -> News:
    while True:
        news = one.news()
        bring_home(home, news, one.piece)
        if news.ended:
            return news


def test_any_prefix_of_what_comes_back_can_be_gone_on_from(
    lists: Mapping[str, Dataset], nowhere: Path, tmp_path: Path
) -> None:
    """Dropped behind any file that was written here, and begun again from there: the weights of an undisturbed one."""
    here = toys.final(toys.train(toys.card({"body": toys.stage(epochs=4)}), lists, tmp_path / "here"))
    home = tmp_path / "home"
    for writes in (1, 2, 5):
        one, left = begin(lists, home), writes
        while left > 0:
            news = one.news()
            for name in list(news.files)[:left]:
                bring_home(home, news._replace(files={name: news.files[name]}, gone=[]), one.piece)
            left -= len(news.files)
            if news.ended:
                break
        one.clear()
    last = begin(lists, home)
    to_the_end(last, home)
    last.clear()
    assert toys.final(home) == here
    assert {file.name for file in home.iterdir()} <= {
        "model.safetensors",
        "last.safetensors",
        "train.json",
        "train.log",
    }


def test_the_state_comes_behind_what_it_counts_on() -> None:
    """And the weights behind all: their presence means trained."""
    assert afar.RUNNING == ("train.log", "best.safetensors", "last.safetensors", "state.safetensors")
    assert afar.ENDED[-2:] == ("train.json", "model.safetensors")


def test_a_defect_comes_back_with_its_traceback(lists: Mapping[str, Dataset], nowhere: Path, tmp_path: Path) -> None:
    """As an error that says where; nothing is left of it there."""
    card = toys.card({"body": toys.stage()}, "Failing", model_arguments={"at": 1, "what": "error"})
    one = Afar(card, training.Materials(lists, {}), {}, device="cpu", threads=1, workers=0, feature_limit=0)
    ended = to_the_end(one, tmp_path / "home").ended
    assert ended is not None
    assert isinstance(ended.error, BenchError)
    assert ended.error.what == "ArithmeticError: the toy broke"
    assert "Traceback" in ended.details
    one.clear()
    assert not list(nowhere.rglob("training-*"))


def test_what_killed_workers_left_is_removed(lists: Mapping[str, Dataset], nowhere: Path, tmp_path: Path) -> None:
    """By the next training on the node; the folder of one that lives stays."""
    dead = scratch() / "training-dead"
    dead.mkdir()
    (dead / "state.safetensors").write_bytes(b"x")
    one = begin(lists, tmp_path / "home")
    other = begin(lists, tmp_path / "home")
    assert not dead.exists()
    assert len(list(scratch().glob("training-*"))) == 2
    for each in (one, other):
        to_the_end(each, tmp_path / "home")
        each.clear()


def test_lines_arrive_in_their_order() -> None:
    """Progress that nobody has fetched yet is added up."""
    relay, told = Relay(), Told()
    relay.note("a")
    relay.begin("epoch 1", 10)
    for _ in range(3):
        relay.advance(2)
    relay.end()
    Shared(told).show("toy", relay.drain())
    assert told.lines == ["a", "begin epoch 1 10", "advance 6", "end"]
    assert relay.drain() == []


def test_one_bar_for_several_trainings() -> None:
    """That of whichever began first; all notes; then it is free for the next."""
    told = Told()
    shared = Shared(told)
    shared.show("a", [("begin", ("a", 2)), ("advance", (1,))])
    shared.show("b", [("begin", ("b", 4)), ("note", ("b learns",)), ("advance", (4,)), ("end", ())])
    shared.show("a", [("advance", (1,)), ("end", ())])
    shared.show("b", [("begin", ("b again", 4))])
    shared.release("b")
    shared.show("c", [("begin", ("c", 1))])
    begun = ["begin b again 4", "begin c 1"]
    assert told.lines == ["begin a 2", "advance 1", "b learns", "advance 1", "end", *begun]
