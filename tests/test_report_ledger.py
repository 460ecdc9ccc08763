"""The ledger: what is a site of ours, what is kept, and that nothing else is ever touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.errors import StoreError, UsageError
from bench.files import atomically
from bench.report import ledger
from bench.report.ledger import Ledger, Page, opened, stored, swept

FILES = {"a/index.html": b"<p>a", "a/t.csv": b"x\r\n"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A site of one page, with two files."""
    place = tmp_path / "site"
    Ledger("all", {"a/index.html": Page(made_of="1", files=stored(place, FILES))}).write(place)
    return place


def test_what_is_written_is_read(out: Path) -> None:
    """Fingerprints, and of every file its sha256 and size."""
    found = opened(out)
    assert (found.made_of, found.files(), found.pages["a/index.html"].made_of) == ("all", set(FILES), "1")
    for path, content in FILES.items():
        told = found.pages["a/index.html"].files[path]
        assert (told.sha256, told.size) == (hashlib.sha256(content).hexdigest(), len(content))
        assert (out / path).read_bytes() == content


def test_a_page_comes_after_what_it_links_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTML is the last file of a page that is written."""
    written: list[str] = []

    def seen(place: Path, write: Callable[[Path], object]) -> None:
        written.append(place.name)
        atomically(place, write)

    monkeypatch.setattr("bench.report.ledger.atomically", seen)
    stored(tmp_path, {"index.html": b"", "z.csv": b"", "a.png": b""})
    assert (set(written[:2]), written[2]) == ({"z.csv", "a.png"}, "index.html")


@pytest.mark.parametrize("content", [b"x", None])
def test_a_page_whose_file_is_another_is_not_intact(out: Path, content: bytes | None) -> None:
    """One that was edited, even to the same size, or deleted; an untouched page is."""
    assert set(opened(out).intact(out)) == {"a/index.html"}
    (out / "a" / "t.csv").unlink()
    if content:
        (out / "a" / "t.csv").write_bytes(content * 3)
    assert not opened(out).intact(out)


@pytest.mark.parametrize("names", [(), (".git", ".nojekyll")])
def test_a_new_folder_becomes_a_site(tmp_path: Path, names: tuple[str, ...]) -> None:
    """One that is absent, empty, or holds hidden files alone."""
    for name in names:
        (tmp_path / "site").mkdir(exist_ok=True)
        (tmp_path / "site" / name).touch()
    assert opened(tmp_path / "site") == Ledger()
    (tmp_path / "site" / "index.html").touch()
    assert opened(tmp_path / "site") == Ledger()  # it is ours now, even though the build was killed


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Whatever it holds: it is named, and nothing is written. A file is no folder."""
    (tmp_path / "style.css").write_text("theirs")
    with pytest.raises(UsageError, match=r"holds something that is no site of `bench report`: style.css") as found:
        opened(tmp_path)
    assert found.value.remedy == "choose a new or empty folder with --out, or empty this one"
    assert [place.name for place in tmp_path.iterdir()] == ["style.css"]
    with pytest.raises(UsageError, match="a site needs a folder, this is a file"):
        opened(tmp_path / "style.css")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the option of this command."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="the site: cannot be written") as found:
        stored(tmp_path, {"file/index.html": b""})
    assert found.value.remedy == "choose a folder you may write to with --out"


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "{",
        lambda told: told | {"version": 2},
        lambda told: told | {"pages": {"p": {"made_of": 1, "files": {}}}},
        *(
            lambda told, path=path: told | {"pages": {"p": {"made_of": "", "files": {path: {"sha256": "", "size": 1}}}}}
            for path in ("../x", "/x", "a/../../x", "a//b", "c:x", "a\\b", "a\0", "", ".")
        ),
    ],
)
def test_a_damaged_ledger_keeps_nothing(out: Path, damage: Callable[[Any], Any]) -> None:
    """Not JSON, another version, other types, or a path that leads out of the site: as if no page had been made."""
    place = out / ledger.FILE
    made = damage(json.loads(place.read_text()))
    place.write_text(made if isinstance(made, str) else json.dumps(made))
    assert opened(out) == Ledger()


@given(st.text(alphabet="./\\:a\0", max_size=8))
@example("a/./b")
def test_no_path_leads_out_of_a_site(path: str) -> None:
    """Whatever a ledger says: what it takes for a file lies below the folder, under that very name."""
    if ledger._inside(path):
        place = Path("/site") / path
        assert place.as_posix() == f"/site/{path}"
        assert ".." not in place.parts
        assert "\0" not in path


def test_only_what_is_named_is_deleted(out: Path, tmp_path: Path) -> None:
    """And folders that are empty then; other files stay, and those that a link leads to."""
    (out / "a" / "mine.txt").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.csv").touch()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    stored(out, {"b/c/d.csv": b""})
    swept(out, ["a/t.csv", "a/index.html", "b/c/d.csv", "link/x.csv", "never/there"])
    assert {place.relative_to(out).as_posix() for place in out.rglob("*")} == {ledger.FILE, "a", "a/mine.txt", "link"}
    assert (tmp_path / "elsewhere" / "x.csv").exists()
