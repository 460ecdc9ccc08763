"""leaderboard.yml is read strictly and rewritten minimally; accepted scores come back as they were, or not at all."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import accepted
from bench.accepted import ALONE, Accepted, AcceptedScores
from bench.errors import CardError, StoreError, UsageError
from bench.trials import BONAFIDE, SPOOF, validate

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
HEAD = f"accepted:\n  - detector: x\n    dataset: d\n    digest: {A}\n    key: {B}\n    eer: 5.0\n"
Write = Callable[[str], Path]


def entry(detector: str = "y", dataset: str = "d", digest: str = C, key: str = C, eer: float = 1.5) -> Accepted:
    return Accepted(detector=detector, dataset=dataset, digest=digest, key=key, eer=eer)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(text: str) -> Path:
        file = tmp_path / "leaderboard.yml"
        file.write_bytes(text.encode())
        return file

    return save


def after(file: Path, *results: Accepted) -> str:
    accepted.write(file, results)
    return file.read_bytes().decode()


class TestReading:
    def test_everything_it_may_say(self, write: Write) -> None:
        """Tolerance, boards and entries as written; an entry's own tolerance only where it has one."""
        boards = "boards:\n  main: {detectors: [all], datasets: [itw, 'x*']}\n"
        found = accepted.read(write(f"tolerance: 0.1\n{boards}{HEAD}    tolerance: 1\n"))
        assert (found.tolerance, found.board("main").datasets) == (0.1, ("itw", "x*"))
        assert found.accepted == (Accepted(detector="x", dataset="d", digest=A, key=B, eer=5.0, tolerance=1.0),)
        with pytest.raises(UsageError, match="no board is called 'man'") as error:
            found.board("man")
        assert error.value.remedy == "did you mean main? known: main"

    @pytest.mark.parametrize("text", ["accepted:\n", "accepted: []\n", "accepted: null\n", "boards: {}\n"])
    def test_nothing_may_be_accepted(self, write: Write, text: str) -> None:
        """No entry is no error, and the tolerance is 0.05 percentage points where none is given."""
        found = accepted.read(write(text))
        assert (found.accepted, found.tolerance) == ((), 0.05)

    @pytest.mark.parametrize(
        ("text", "what", "line", "remedy"),
        [
            (HEAD.replace("digest", "digst"), "unknown field `accepted.0.digst` (and 1 more)", 4, "`digest`?"),
            (f"tolerence: 1\n{HEAD}", "unknown field `tolerence`", 1, "did you mean `tolerance`?"),
            ("boards:\n  m:\n    detector: [a]\n", "unknown field `boards.m.detector`", 3, "did you mean `detectors`?"),
            ("boards: {m: {detectors: [], datasets: [d]}}\n", "`boards.m.detectors`: ", 1, None),
            ("boards: {m: {detectors: ['a,b'], datasets: [d]}}\n", "`boards.m.detectors.0`: ", 1, None),
            (HEAD.replace(A, "abc"), "`accepted.0.digest`: String should match pattern", 4, None),
            (HEAD.replace(A, A.upper()), "`accepted.0.digest`: String should match pattern", 4, None),
            (HEAD.replace("5.0", ".nan"), "`accepted.0.eer`: Input should be a finite number", 6, None),
            (HEAD.replace("5.0", "100.1"), "`accepted.0.eer`: Input should be less than or equal to 100", 6, None),
            (HEAD.replace("5.0", "'5.0'"), "`accepted.0.eer`: Input should be a valid number", 6, None),
            (HEAD.replace("detector: x", "detector: a b"), "`accepted.0.detector`: String should match", 2, None),
            (f"tolerance: -1\n{HEAD}", "`tolerance`: Input should be greater than or equal to 0", 1, None),
            (HEAD + HEAD.removeprefix("accepted:\n"), "x on d is accepted twice", 7, "remove one of the two entries"),
            (HEAD.replace(f"    key: {B}\n", ""), "the field `accepted.0.key` is missing", 2, None),
            ("accepted: [\n", "not valid YAML", 2, None),
        ],
    )
    def test_what_is_wrong_is_told_with_its_line(
        self, write: Write, text: str, what: str, line: int, remedy: str | None
    ) -> None:
        """Unknown and misspelt fields, values out of range and entries given twice are errors of file and line."""
        with pytest.raises(CardError) as error:
            accepted.read(write(text))
        assert error.value.what.startswith(what)
        assert str(error.value.where).endswith(f"leaderboard.yml, line {line}")
        assert (remedy or "") in (error.value.remedy or "")

    def test_there_may_be_no_file(self, tmp_path: Path) -> None:
        """Wrong usage, with the two ways on."""
        with pytest.raises(UsageError, match="no accepted results here") as error:
            accepted.read(tmp_path / "leaderboard.yml")
        assert error.value.remedy == "write the file with `bench check --accept`, or name one with --leaderboard"


BLOCK = f"  - detector: y\n    dataset: d\n    digest: {C}\n    key: {C}\n    eer: 1.5\n"
FLOW = f"{{detector: y, dataset: d, digest: {C}, key: {C}, eer: 1.5}}"
X_FLOW = f"{{detector: x, dataset: d, digest: {A}, key: {B}, eer: 5}}"
APPENDED = {
    "below the last": (HEAD, HEAD + BLOCK),
    "before what follows": (f"{HEAD}# end\nboards: {{}}\n", f"{HEAD}{BLOCK}# end\nboards: {{}}\n"),
    "behind a comment in the line": (HEAD[:-1] + "  # good\n", HEAD[:-1] + "  # good\n" + BLOCK),
    "without a final newline": (HEAD[:-1], HEAD + BLOCK[:-1]),
    "CRLF": (HEAD.replace("\n", "\r\n"), (HEAD + BLOCK).replace("\n", "\r\n")),
    "not indented": (HEAD.replace("\n  ", "\n"), (HEAD + BLOCK).replace("\n  ", "\n")),
    "wide": (
        HEAD.replace("  - ", "    -   ")
        .replace("\n    d", "\n        d")
        .replace("\n    k", "\n        k")
        .replace("\n    e", "\n        e"),
        (HEAD + BLOCK)
        .replace("  - ", "    -   ")
        .replace("\n    d", "\n        d")
        .replace("\n    k", "\n        k")
        .replace("\n    e", "\n        e"),
    ),
    "no entry": ("accepted:\nboards: {}\n", f"accepted:\n{BLOCK}boards: {{}}\n"),
    "an empty list": ("accepted: []\n", f"accepted:\n{BLOCK}"),
    "an empty list with a comment": ("accepted: []  # none\n", f"accepted:   # none\n{BLOCK}"),
    "null": ("accepted: null\n", f"accepted:\n{BLOCK}"),
    "null with a comment": ("accepted: # none\n", f"accepted: # none\n{BLOCK}"),
    "no list": ("tolerance: 1 # pp\n\n# end\n", f"tolerance: 1 # pp\naccepted:\n{BLOCK}\n# end\n"),
    "a list on lines of its own": ("accepted: [\n  # none\n]\n", f"accepted: [{FLOW}\n  # none\n]\n"),
    "entries in braces": (f"accepted:\n- {X_FLOW}\n", f"accepted:\n- {X_FLOW}\n- {FLOW}\n"),
    "a list in brackets": (f"accepted: [{X_FLOW},]\n", f"accepted: [{X_FLOW}, {FLOW},]\n"),
    "all in braces": ("{accepted: [], tolerance: 1}\n", f"{{accepted: [{FLOW}], tolerance: 1}}\n"),
    "a byte order mark": ("\ufeff" + HEAD, "\ufeff" + HEAD + BLOCK),
    "a block scalar at the end": (
        HEAD.replace(f"    key: {B}\n    eer: 5.0\n", f"    eer: 5.0\n    key: >-\n      {B}\n\n# end\n"),
        HEAD.replace(f"    key: {B}\n    eer: 5.0\n", f"    eer: 5.0\n    key: >-\n      {B}\n{BLOCK}\n# end\n"),
    ),
}


class TestRewriting:
    @pytest.mark.parametrize("form", APPENDED)
    def test_a_new_entry_is_written_like_the_last_one(self, write: Write, form: str) -> None:
        """Behind the last entry, in the file's own indentation, style and line ends; all else stays."""
        before, expected = APPENDED[form]
        assert after(write(before), entry()) == expected

    @pytest.mark.parametrize(
        "text",
        [
            HEAD,
            HEAD.replace(A, f"'{A}'").replace(B, f'"{B}"  # this key'),
            HEAD.replace("\n", "\r\n"),
            HEAD[:-1],
            HEAD.replace("eer: 5.0", "eer:   5.0   # was 6\n    tolerance: 0.2\n\n  # the next\n"),
            f"accepted: [{{eer: 5.0, key: {B}, digest: {A}, detector: x, dataset: d}}]",
            f'{{"accepted": [{{"eer": 5.0, "key": "{B}", "digest": "{A}", "detector": "x", "dataset": "d"}}]}}',
        ],
    )
    def test_only_the_scalars_that_differ_are_replaced(self, write: Write, text: str) -> None:
        """Quotes, comments, order and line ends stay; so does the cell's tolerance."""
        file = write(text)
        tolerance = accepted.read(file).accepted[0].tolerance
        assert after(file, entry("x", eer=7.8357)) == text.replace(A, C).replace(B, C).replace("5.0", "7.8357")
        assert accepted.read(file).accepted[0].tolerance == tolerance

    def test_what_is_the_same_is_not_touched(self, write: Write) -> None:
        """An EER written as 5.00 stays that, and entries nobody accepted anew stay as they are."""
        text = HEAD.replace("5.0", "5.00") + BLOCK.replace("detector: y", "detector:   'y' # mine")
        assert after(write(text), entry("x", digest=A, key=B, eer=5.0)) == text

    def test_a_new_file(self, tmp_path: Path) -> None:
        """Where there is none, one is made, with the default tolerance and a word of explanation."""
        file = tmp_path / "leaderboard.yml"
        assert after(file, entry()) == accepted.NEW_FILE + BLOCK
        assert accepted.read(file).accepted == (entry(),)

    @pytest.mark.parametrize(
        "name", ["on", "1e-7", "12", "null", "a:b", "#1", "'q", '"', "-", "é", "!x", "{", "\U0001f600", "\x85a"[1:]]
    )
    @pytest.mark.parametrize("before", ["accepted: []\n", f"accepted: [{X_FLOW}]\n"])
    def test_names_that_yaml_would_read_otherwise_are_quoted(self, write: Write, name: str, before: str) -> None:
        """Whatever a detector may be called comes back as that name."""
        file = write(before)
        accepted.write(file, [entry(name)])
        assert accepted.read(file).accepted[-1] == entry(name)

    def test_a_link_stays_a_link(self, write: Write, tmp_path: Path) -> None:
        """The file that it leads to is rewritten."""
        file = write(HEAD)
        link = tmp_path / "link.yml"
        link.symlink_to(file)
        accepted.write(link, [entry()])
        assert link.is_symlink()
        assert file.read_text() == HEAD + BLOCK

    def test_a_text_that_cannot_be_continued_stays(self, write: Write) -> None:
        """What the result would not be read as is not written, and the error says how to write the list."""
        file = write("{tolerance: 1}\n")
        with pytest.raises(CardError, match="written in a way that cannot be continued here"):
            accepted.write(file, [entry()])
        assert file.read_text() == "{tolerance: 1}\n"
        assert list(file.parent.iterdir()) == [file]

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_any_file(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        """However it is laid out: read again it says what was accepted, and no other line is another."""
        hexes = [hashlib.sha256(bytes([n])).hexdigest() for n in range(18)]
        count = data.draw(st.integers(0, 4))
        newline, indent = data.draw(st.sampled_from(["\n", "\r\n"])), data.draw(st.integers(0, 3))
        lines = data.draw(st.sampled_from([[], ["# head"], ["tolerance: 0.5  # pp", ""]]))
        lines.append("accepted:  # all" if count else data.draw(st.sampled_from(["accepted: []", "accepted:", ""])))
        for number in range(count):
            quote, gap = data.draw(st.sampled_from(["", "'", '"'])), data.draw(st.sampled_from(["", "  # why"]))
            fields = [f"detector: n{number}{gap}", "dataset: d", f"digest:  {quote}{hexes[2 * number]}{quote}{gap}"]
            fields += [f"key: {quote}{hexes[2 * number + 1]}{quote}", f"eer: {number}.{number}125{gap}"]
            order = data.draw(st.permutations(fields))
            lines += [" " * indent + ("- " if place == 0 else "  ") + line for place, line in enumerate(order)]
            lines += data.draw(st.sampled_from([[], [""], [" " * indent + "# between"]]))
        lines += data.draw(st.sampled_from([[], ["# end"], ["boards:", "  m: {detectors: [a], datasets: [d]}"]]))
        text = newline.join(lines) + data.draw(st.sampled_from(["", newline])) or "tolerance: 1"
        text = text if ":" in text else f"tolerance: 1{newline}{text}"
        file = tmp_path_factory.mktemp("any") / "leaderboard.yml"
        file.write_bytes(text.encode())

        changed = data.draw(st.sets(st.integers(0, 5)))
        results = [entry(f"n{n}", "d", hexes[12 + n], hexes[17 - n], 50 + n / 8) for n in sorted(changed)]
        wanted = {one.detector: one for one in accepted.read(file).accepted} | {one.detector: one for one in results}
        found = after(file, *results)
        assert accepted.read(file).accepted == tuple(wanted.values())
        expected = text
        for number in changed & set(range(count)):
            for old, new in ((hexes[2 * number], hexes[12 + number]), (hexes[2 * number + 1], hexes[17 - number])):
                expected = expected.replace(old, new)
            expected = expected.replace(f"{number}.{number}125", str(50 + number / 8))
        steps = list(difflib.ndiff(expected.splitlines(), found.splitlines()))
        lost = [line[2:] for line in steps if line.startswith("- ")]
        assert lost in ([], ["accepted: []"])
        assert len([line for line in steps if line.startswith("+ ")]) <= 5 * len(results) + 1
        assert ("\r" in found) == ("\r" in text)


def scores_of(*columns: np.ndarray, digest: str = A) -> AcceptedScores:
    names = [ALONE] if len(columns) == 1 else map(str, range(len(columns)))
    return AcceptedScores(digest, C, dict(zip(names, columns, strict=True)), {"weights": "w"})


class TestScores:
    @given(
        values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30), short=st.booleans()
    )
    def test_they_come_back_exactly(
        self, tmp_path_factory: pytest.TempPathFactory, values: list[float], short: bool
    ) -> None:
        """Any finite float64, whether or not float32 holds it, and what made them."""
        place = tmp_path_factory.mktemp("scores") / "set" / "det.parquet"
        scores = np.array(values)
        if short:
            scores = scores.clip(-1e38, 1e38).astype(np.float32).astype(np.float64)
        accepted.write_scores(place, scores_of(scores, -scores))
        found = accepted.read_scores(place, A, len(values))
        assert found is not None
        assert (found.digest, found.factors, found.made_by) == (A, C, {"weights": "w"})
        assert list(found.columns) == ["0", "1"]
        assert found.columns["0"].tobytes() == scores.tobytes()
        assert found.columns["1"].tobytes() == (-scores).tobytes()

    def test_they_are_small_and_written_alike(self, tmp_path: Path) -> None:
        """31,779 float32 scores take less than 130 kB, and the same scores give the same bytes."""
        scores = np.random.default_rng(0).normal(size=31_779).astype(np.float32).astype(np.float64)
        places = [tmp_path / name for name in "ab"]
        for place in places:
            accepted.write_scores(place, scores_of(scores))
        first, second = (place.read_bytes() for place in places)
        assert first == second
        assert len(first) < 130_000

    def test_what_a_list_calls_its_speakers_and_attacks(self) -> None:
        """Sha256 over lines of trial, speaker and attack, in the order of the table."""
        trials = validate(
            pd.DataFrame({"trial": ["a", "b"], "label": [BONAFIDE, SPOOF], "speaker": ["s", ""], "attack": ["", "A1"]}),
            "list",
        )
        expected = hashlib.sha256(b"a\ts\t\nb\t\tA1\n").hexdigest()
        assert accepted.factors(trials) == accepted.factors(trials.assign(codec="x")) == expected
        assert accepted.factors(trials.drop(columns="speaker")) == accepted.factors(trials.assign(speaker=""))

    def test_none_are_kept(self, tmp_path: Path) -> None:
        """That is no error: the EER alone is compared."""
        assert accepted.read_scores(tmp_path / "det.parquet", A, 3) is None
        assert accepted.trials_of(tmp_path / "det.parquet") is None

    def test_where_they_lie(self, tmp_path: Path) -> None:
        """Beside the file, by names that lead nowhere else."""
        folder = tmp_path.resolve() / "reports" / "accepted"
        assert accepted.scores_file(tmp_path / "l.yml", "itw", "aasist") == folder / "itw" / "aasist.parquet"
        assert accepted.scores_file(tmp_path / "l.yml", "..", "a/b") == folder / "%2E." / "a%2Fb.parquet"

    @pytest.mark.parametrize(
        ("scores", "what"),
        [
            (scores_of(np.ones(3), digest=B), "they are of another trial list than the entry"),
            (scores_of(np.ones(4)), "4 scores for 3 trials"),
            (scores_of(np.array([1, np.nan, np.inf])), "2 scores are not finite"),
            (AcceptedScores(A, C, {}), "0 scores for 3 trials"),
        ],
    )
    def test_others_are_refused(self, tmp_path: Path, scores: AcceptedScores, what: str) -> None:
        """Another list, another length, not finite: an error that names the file and the two ways out."""
        place = tmp_path / "det.parquet"
        accepted.write_scores(place, scores)
        with pytest.raises(StoreError) as error:
            accepted.read_scores(place, A, 3)
        assert error.value.what == f"the accepted scores cannot be used: {what}"
        assert error.value.where == str(place)
        assert error.value.remedy == "get the file back from version control, or accept the cell again with --accept"

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 99])
    def test_what_is_no_parquet_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """An empty, foreign or cut file is told as not readable."""
        place = tmp_path / "det.parquet"
        place.write_bytes(content)
        with pytest.raises(StoreError, match="cannot be used: not readable"):
            accepted.read_scores(place, A, 3)
        assert accepted.trials_of(place) is None

    @pytest.mark.parametrize(
        ("columns", "told", "what"),
        [
            ([("0", [1.0]), ("0", [1.0])], {}, "not one column of numbers a seed"),
            ([("score", ["x"])], {}, "not one column of numbers a seed"),
            ([(str(n), [1.0]) for n in range(65)], {}, "not one column of numbers a seed"),
            ([("score", [1.0])], {"sha256": B}, "not the scores that were written"),
            ([("score", [1.0])], {"made_by": "{"}, "not readable: Expecting property name"),
            ([("score", [1.0])], {"made_by": "[" * 100_000}, "not readable: maximum recursion depth exceeded"),
            ([("score", [1.0])], {"digest": B}, "they are of another trial list than the entry"),
        ],
    )
    def test_files_of_strangers(
        self, tmp_path: Path, columns: Sequence[tuple[str, list[Any]]], told: dict[str, str], what: str
    ) -> None:
        """Whatever else is called scores is refused before it is compared."""
        place = tmp_path / "det.parquet"
        names, values = zip(*columns, strict=True)
        table = pa.table(list(map(pa.array, values)), names=list(names))
        pq.write_table(table.replace_schema_metadata({"digest": A, **told}), place)
        with pytest.raises(StoreError) as error:
            accepted.read_scores(place, A, 1)
        assert error.value.what.startswith(f"the accepted scores cannot be used: {what}")

    def test_columns_are_counted_before_they_are_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file of 65 columns is refused by its head: constant ones of a long list would fill the memory."""
        place = tmp_path / "det.parquet"
        table = pa.table({str(n): [1.0] for n in range(65)})
        pq.write_table(table.replace_schema_metadata({"digest": A}), place)
        monkeypatch.delattr(pq.ParquetFile, "read")
        with pytest.raises(StoreError, match="not one column of numbers a seed"):
            accepted.read_scores(place, A, 1)

    def test_a_changed_byte_is_never_another_score(self, tmp_path: Path) -> None:
        """Wherever a bit flips, the file is refused or gives the same scores."""
        place, scores = tmp_path / "det.parquet", np.linspace(-3, 3, 50)
        accepted.write_scores(place, scores_of(scores, -scores))
        whole, refused = place.read_bytes(), 0
        for at in range(0, len(whole), 7):
            place.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            try:
                found = accepted.read_scores(place, A, 50)
            except StoreError:
                refused += 1
            else:
                assert found is not None
                assert [values.tolist() for values in found.columns.values()] == [scores.tolist(), (-scores).tolist()]
        assert refused > 100
