"""bench.corpora.files: places, protocols line by line, names that must not lead outside."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import trials
from bench.corpora import files, tables
from bench.errors import Blocked, DataError
from bench.trials import trial_id
from tests.corpora.conftest import Lay

FIELD = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1, max_size=5)
LINES = np.arange(1, 100)


def texts(*values: str) -> pd.Series:
    return pd.Series(values, dtype="str")


def test_a_place_is_the_first_candidate_that_exists(lay: Lay) -> None:
    """Earlier places win over later ones, and for one place earlier levels win."""
    root = lay({"b/list": "", "b/deep/list": "", "c/list": ""})
    candidates = files.under(root, ("a", "b", "c"), ("deep", ""), ("list",))
    assert files.first(candidates, "the list") == root / "b/deep/list"


def test_what_is_nowhere_is_blocked_with_every_searched_path(tmp_path: Path) -> None:
    """The error names all candidates and where the thing belongs."""
    candidates = files.under(tmp_path, ("a", ""), ("x", "y"))
    with pytest.raises(Blocked) as caught:
        files.first(candidates, "the list")
    assert len(candidates) == 4
    assert all(f"\n    {candidate}\n" in f"{caught.value}\n" for candidate in candidates)
    assert caught.value.remedy == f"it belongs at {tmp_path / 'a/x'}"


def test_audio_is_found_in_any_of_the_folders_and_expected_beside_what_was_found(lay: Lay) -> None:
    """Earlier folders and earlier suffixes win; a missing file is expected in the folder where the first one lies."""
    root = lay({"one/other.flac": "", "two/a.wav": "", "two/a.flac": "", "three/b.wav": "", "three/a.flac": ""})
    folders = [root / name for name in ("zero", "one", "two", "three")]
    paths = files.locate(pd.Series(["b", "a", "c"]), folders[:3], (".flac", ".wav"))
    assert paths == [f"{root}/two/b.flac", f"{root}/two/a.flac", f"{root}/two/c.flac"]
    assert files.locate(pd.Series(["b"]), folders, (".flac", ".wav")) == [f"{root}/three/b.wav"]
    assert files.locate(pd.Series(["a"]), folders, (".wav",)) == [f"{root}/two/a.wav"]
    assert files.locate(pd.Series(["a"]), folders, (".flac",)) == [f"{root}/two/a.flac"]
    assert files.locate(pd.Series(["x"]), folders, (".flac", ".wav")) == [f"{root}/zero/x.flac"]


def test_missing_files_are_those_that_cannot_be_opened(lay: Lay) -> None:
    """Absent files, absent folders, folders called like a file and links without a target are missing; '' is too."""
    root = lay({"a/1.wav": "", "a/3.wav/x": ""})
    (root / "a/2.wav").symlink_to(root / "a/1.wav")
    (root / "a/4.wav").symlink_to(root / "nothing")
    paths = [f"{root}/a/{number}.wav" for number in (1, 2, 3, 4, 5)] + [f"{root}/b/1.wav", ""]
    assert (
        files.missing(paths)
        == [index for index, path in enumerate(paths) if not Path(path).is_file()]
        == [2, 3, 4, 5, 6]
    )


def test_audio_files_are_listed_through_links_but_not_in_circles(lay: Lay) -> None:
    """A link to a folder above ends the walk there; hidden files and files that are no audio are left out."""
    root = lay(
        {
            "data/a/1.wav": "",
            "data/2.FLAC": "",
            "data/._2.wav": "",
            "data/.trash/3.wav": "",
            "data/n.txt": "",
            "far/4.ogg": "",
        }
    )
    (root / "data/a/up").symlink_to(root / "data")
    (root / "data/far").symlink_to(root / "far")
    assert files.audio_files(root / "data") == ["2.FLAC", "a/1.wav", "far/4.ogg"]


@pytest.mark.parametrize("name", ["../a", "a/b", "/etc/passwd", "..", ".", "a\\b", ""])
def test_a_name_that_is_a_path_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    """In a list of plain names a folder can only lead where nothing belongs."""
    with pytest.raises(DataError, match=r"is not a plain file name\n  where: .*list, line 2\n  remedy: "):
        files.plain_names(pd.Series(["fine", name]), tmp_path / "list", LINES)


@pytest.mark.parametrize(
    ("name", "trial"),
    [
        ("a.wav", "a"),
        ("./b/a.flac", "b/a"),
        ("b\\a.wav", "b/a"),
        ("b/../a.wav", "a"),
        ("b//a.wav", "b/a"),
        ("a..wav", "a."),
        ("{root}/b/a.wav", "b/a"),
    ],
)
def test_a_path_inside_the_corpus_is_normalised(name: str, trial: str, tmp_path: Path) -> None:
    """The id is the path below the corpus, whatever way the list spells it."""
    paths, ids = files.inside(texts(name.format(root=tmp_path)), [tmp_path], tmp_path / "list", LINES)
    assert ids.tolist() == [trial]
    assert paths.tolist() == [str(tmp_path / f"{trial}{'.flac' if name.endswith('flac') else '.wav'}")]


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "/", "\\", "~", "corpus"]), min_size=1, max_size=8))
def test_no_path_leads_outside_the_corpus(parts: list[str]) -> None:
    """Either the path ends inside the root, or it is refused with file and line."""
    root = Path("/data/corpus")
    try:
        (path,), (trial,) = files.inside(texts("/".join(parts)), [root], root / "list", LINES)
    except DataError as error:
        assert error.where == "/data/corpus/list, line 1"
        assert error.remedy
    else:
        assert ".." not in Path(path).parts
        assert root in Path(path).parents
        assert Path(path).relative_to(root).as_posix() == trial


def test_a_corpus_reached_through_a_link_may_be_named_either_way(lay: Lay) -> None:
    """Absolute paths of a list may spell the corpus as given or with its links resolved."""
    root = lay({"real/a.wav": ""})
    (root / "link").symlink_to(root / "real")
    names = texts(f"{root}/real/a.wav", f"{root}/link/a.wav")
    assert files.inside(names, [root / "link"], root / "list", LINES)[1].tolist() == ["a", "a"]


PART = st.sampled_from(["..", ".", "a", "b.wav", "", "\\", "/data", "/data/corpus", "/", "c d.FLAC"])


@given(st.lists(st.lists(PART, max_size=5).map("/".join), min_size=1, max_size=9), st.booleans())
def test_a_column_of_paths_is_placed_as_each_one_is(names: list[str], nested: bool) -> None:
    """Row by row, in however many pieces; the first root that holds a path counts, the first wrong row is told."""
    roots = [Path("/data/corpus"), Path("/data")][:: -1 if nested else 1]
    placed: list[tuple[str, str]] = []
    for name in names:
        slashed = name.replace("\\", "/")
        place = os.path.normpath(slashed if slashed.startswith("/") else f"{roots[0]}/{slashed}")
        root = next((root for root in roots if root in Path(place).parents and not place.startswith("//")), None)
        if not name or root is None:
            break
        placed.append((place, trial_id(Path(place).relative_to(root).as_posix())))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "PIECE_ROWS", 2)
        if len(placed) == len(names):
            assert list(zip(*files.inside(texts(*names), roots, Path("list"), LINES), strict=True)) == placed
            return
        wrong = f"{names[len(placed)]!r} leads outside the corpus" if names[len(placed)] else "empty file name"
        where = rf"list, line {len(placed) + 1}"
        with pytest.raises(DataError, match=rf"^{re.escape(wrong)}\n  where: {where}\n  remedy: name"):
            files.inside(texts(*names), roots, Path("list"), LINES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    bom=st.sampled_from(["", "\ufeff"]),
    gap=st.sampled_from([" ", "  ", "\t", " \t "]),
    blank=st.sampled_from(["", "\n", " \n\n"]),
)
def test_a_protocol_is_read_however_it_is_written(
    tmp_path: Path, rows: list[tuple[str, ...]], end: str, last: bool, bom: str, gap: str, blank: str
) -> None:
    """Line ends, byte order mark, empty lines and runs of blanks change nothing but the line numbers."""
    file = tmp_path / "protocol"
    text = blank + end.join(gap.join(row) for row in rows) + (end if last else "")
    file.write_bytes((bom + text).encode())
    table, lines = tables.read_protocol(file, ("a", "b", "c"))
    assert list(table.itertuples(index=False, name=None)) == rows
    assert lines.tolist() == [blank.count("\n") + row for row in range(1, len(rows) + 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("s t bonafide\ns my trial spoof\n", "4 columns instead of 3\n.*line 2\n.*no field may hold one"),
        ("s t bonafide\n\ns t\n", "2 columns instead of 3\n.*line 3\n.*broken download"),
        ("s t bonafide\ns my\ttrial spoof\n", "4 columns instead of 3\n.*line 2"),
        ("s  bonafide\n", "2 columns instead of 3\n.*line 1"),
        ("s t bonafide\ns  spoof\n", "2 columns instead of 3\n.*line 2"),
        ("s\n", "1 columns instead of 3\n.*line 1"),
        ("", "the file is empty\n.*line 1\n.*download is complete"),
        (" \n\r\n", "the file is empty"),
        (b"s t bonafide\ns \xff spoof\n", "not UTF-8 text\n.*line 2\n.*as UTF-8"),
    ],
)
def test_a_broken_protocol_is_refused_with_file_line_and_remedy(content: str | bytes, message: str, lay: Lay) -> None:
    """Wrong column counts, nothing at all and other encodings."""
    file = lay({"protocol": content}) / "protocol"
    with pytest.raises(DataError, match=message):
        tables.read_protocol(file, ("speaker", "trial", "label"))


def test_the_first_line_decides_between_layouts(lay: Lay) -> None:
    """A file keeps to one layout; the error names the number of columns of that one."""
    root = lay({"two": "a b\nc d\n", "mixed": "a b\nc d e\n", "none": "a\n"})
    layouts = (("x", "y", "z"), ("x", "y"))
    assert tables.read_protocol(root / "two", *layouts).table.to_dict("list") == {"x": ["a", "c"], "y": ["b", "d"]}
    with pytest.raises(DataError, match=r"3 columns instead of 2\n.*line 2"):
        tables.read_protocol(root / "mixed", *layouts)
    with pytest.raises(DataError, match="1 columns instead of 3 or 2"):
        tables.read_protocol(root / "none", *layouts)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_by_column_name(delimiter: str, end: str, lay: Lay) -> None:
    """Any delimiter, order and letter case; a column may go by another name; lines count from the header."""
    lines = [["Label", "FILE", "note"], ["spoof", "a.wav", "x"], [], ["real", "b c.wav", ""]]
    file = lay({"list": "\ufeff" + end.join(delimiter.join(line) for line in lines)}) / "list"
    table, numbers = tables.read_table(file, ("path|file", "label"))
    assert table.to_dict("list") == {"label": ["spoof", "real"], "path": ["a.wav", "b c.wav"], "note": ["x", ""]}
    assert numbers.tolist() == [2, 4]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.sampled_from('ab,;" \t\n\r\v\x1c\x85\xa0é'), max_size=25), st.booleans(), st.sampled_from(["", "label,"])
)
def test_the_quick_way_reads_what_the_careful_way_reads(tmp_path: Path, text: str, quotes: bool, more: str) -> None:
    """Rows, line numbers and errors are the same, whatever blanks, line ends and lengths of rows there are."""
    file = tmp_path / "list"
    file.write_bytes(f"{more}path\n{text}".encode())

    def found() -> tuple[list[tuple[str, ...]], list[int]] | str:
        try:
            table, lines = tables.read_table(file, ("path",), delimiters=",", quotes=quotes)
        except DataError as error:
            return str(error)
        return list(table.itertuples(index=False, name=None)), lines.tolist()

    quick = found()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_quick_table", lambda *_: None)
        assert quick == found()


def test_a_plain_table_is_read_the_quick_way(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a line at a time: 600,000 rows as Python strings are 200 MB."""
    monkeypatch.delattr(tables, "_records")
    root = lay({"list": "path,label\na b, spoof \n,real", "none": "path,label\n"})
    assert tables.read_table(root / "list", ("path", "label")).table.values.tolist() == [["a b", "spoof"], ["", "real"]]
    assert tables.read_table(root / "none", ("path", "label")).table.to_dict("list") == {"path": [], "label": []}


def test_quotes_enclose_fields_only_where_they_are_meant_to(lay: Lay) -> None:
    """A quoted field may hold delimiters and line breaks; with `quotes=False` a quote is a character like any other."""
    root = lay({"csv": 'path,label\n"a,\nb",spoof\nc,real\n', "bare": 'path|text\na|He said "no\nb|"yes\n'})
    table, numbers = tables.read_table(root / "csv", ("path",))
    assert table["path"].tolist() == ["a,\nb", "c"]
    assert numbers.tolist() == [2, 4]
    bare = tables.read_table(root / "bare", ("path",), quotes=False).table
    assert bare["text"].tolist() == ['He said "no', '"yes']


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("a.wav,spoof\n", "the header has no column `path` or `file` and `label`.*\n.*line 1\n.*e.g. path,label"),
        ("path,label,path\n", "the header has `path` twice\n.*line 1\n.*rename"),
        ("path,label\na,spoof\nb,spoof,x\n", "3 columns instead of the 2 of the header\n.*line 3"),
        ("path,label\na,spoof\nb", "1 columns instead of the 2 of the header\n.*line 3\n.*broken download"),
        ('path,label\na,spoof\n"b,spoof\nc,spoof\n', "not readable as a table.*\n.*line 3\n.*close the quote"),
        (b"path,label\na,spoof\n\xe9,spoof\n", "not UTF-8 text\n.*line 3"),
    ],
)
def test_a_broken_table_is_refused_with_file_line_and_remedy(content: str | bytes, message: str, lay: Lay) -> None:
    """Headers that are none, rows that do not fit them, quotes that never close."""
    file = lay({"list": content}) / "list"
    with pytest.raises(DataError, match=message):
        tables.read_table(file, ("path|file", "label"))


def test_a_file_that_cannot_be_opened_is_an_error_of_that_file(tmp_path: Path) -> None:
    """A folder in the place of a list, say."""
    for read in (tables.head, tables.read_protocol, lambda file: tables.read_table(file, ("path",))):
        with pytest.raises(
            DataError, match=rf"the file cannot be read: Is a directory\n  where: {tmp_path}\n  remedy: "
        ):
            read(tmp_path)


def test_what_a_bona_fide_trial_cannot_have_is_emptied(lay: Lay) -> None:
    """Spoof attributes of bona fide rows and `-` become '', attributes of both classes stay."""
    file = lay({"p": "x b none A01 v bonafide\n- s none A01 - spoof\n"}) / "p"
    rows = tables.read_protocol(file, ("speaker", "trial", "codec", "attack", "vocoder", "label"))
    table = tables.finish(rows, file)
    assert table["attack"].tolist() == ["", "A01"]
    assert table["vocoder"].tolist() == ["", ""]
    assert table["codec"].tolist() == ["none", "none"]
    assert table["speaker"].tolist() == ["x", ""]
