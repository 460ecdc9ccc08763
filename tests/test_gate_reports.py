"""What CI systems and people read of the verdicts, whatever names and reasons hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import junitparser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import gate_reports, terminal
from bench.errors import StoreError
from bench.gate import Acceptance
from bench.regression import Verdict
from bench.resampling import Unit
from bench.uncertainty import Difference, Interval

UNIT = Unit(("speaker",), ("speaker", "attack"), {"speaker": 12, "attack": 6}, {})
WORSE = Difference(0.0025, Interval(0.001, 0.004), 0.012)
VERDICTS = [
    Verdict("itw", "a", "regressed", "much worse", "look", 0.07, 0.0725, 0.05, WORSE, UNIT, ("new weights",)),
    Verdict("itw", "b", "not comparable", "another trial list: 2 are gone", "score it", 0.07, None, 0.05),
    Verdict("set", "a", "invalid", "failed: no memory", "run again"),
    Verdict("set", "b", "missing", "accepted, not in the store", "run it", 0.1),
    Verdict("set", "c", "uncertain", "a little worse"),
    Verdict("set", "d", "new", "nobody accepted it yet", "accept it with --accept", None, 0.5),
    Verdict("set", "e", "identical", "the same scores", "", 0.1, 0.1, 0.05),
]
NASTY = "x|y\n\x1b[31m<b>&\u202e*_`]]>\ud800"


def junit(place: Path, verdicts: list[Verdict]) -> junitparser.TestSuite:
    gate_reports.write_junit(place, verdicts)
    (suite,) = junitparser.JUnitXml.fromfile(str(place))
    return suite


def test_junit_as_a_parser_reads_it(tmp_path: Path) -> None:
    """A case a cell: failures, errors, skipped and passed ones by verdict, with their numbers as properties."""
    suite = junit(tmp_path / "new" / "junit.xml", VERDICTS)
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("bench check", 7, 2, 2, 1)
    cases: dict[tuple[str, str], Any] = {(case.classname, case.name): case for case in suite}
    found = {pair: [type(one).__name__ for one in case.result] for pair, case in cases.items()}
    assert found == {
        ("itw", "a"): ["Failure"],
        ("itw", "b"): ["Failure"],
        ("set", "a"): ["Error"],
        ("set", "b"): ["Error"],
        ("set", "c"): [],
        ("set", "d"): ["Skipped"],
        ("set", "e"): [],
    }
    (failure,) = cases["itw", "a"].result
    assert (failure.type, failure.message, failure.text) == ("regressed", "regressed: much worse; new weights", "look")
    assert cases["set", "c"].system_out == "uncertain: a little worse"
    assert {one.name: one.value for one in cases["itw", "a"].child(junitparser.Properties)} == {
        "verdict": "regressed",
        "unit": "speaker x attack (12 speakers, 6 attacks)",
        "accepted_eer_percent": "7.0000",
        "eer_percent": "7.2500",
        "change_pp": "0.2500",
        "tolerance_pp": "0.0500",
        "interval_low_pp": "0.1000",
        "interval_high_pp": "0.4000",
        "p_value": "0.0120",
    }


@settings(max_examples=40)
@given(text=st.text(st.characters(codec=None), max_size=12))
def test_no_text_breaks_a_report(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a name or a reason holds, XML parses, each cell is one line of the table, and nothing is obeyed."""
    verdicts = [Verdict(f"d{text}", f"n{text}", "regressed", f"w{text}", f"r{text}")]
    (case,) = junit(tmp_path_factory.mktemp("junit") / "junit.xml", verdicts)
    assert case.name.startswith("n")
    assert case.name.isprintable()
    table = gate_reports.markdown(verdicts)
    table.encode()
    (row,) = [line for line in table.splitlines() if line.startswith("| **regressed**")]
    assert row.replace("\\\\", "").replace("\\|", "").count("|") == 8
    assert len(table.splitlines()) == 9
    assert json.loads(json.dumps(gate_reports.as_json(verdicts, [])))["verdicts"][0]["detector"] == f"n{text}"


def test_markdown() -> None:
    """The summary, a row a cell with failing verdicts in bold, then what to do about those."""
    text = gate_reports.markdown(VERDICTS)
    assert "\n4 of 7 cells fail: 1 regressed, 1 not comparable, 1 invalid, 1 missing; 1 uncertain, 1 new" in text
    assert "| **regressed** | a | itw | 7.0000 | 7.2500 | +0.2500 | much worse; new weights |\n" in text
    assert "| **not comparable** | b | itw | 7.0000 | – | – | another trial list: 2 are gone |\n" in text
    assert "| new | d | set | – | 50.0000 | – | nobody accepted it yet |\n" in text
    assert text.endswith("\n- a on itw: look\n- b on itw: score it\n- a on set: run again\n- b on set: run it\n")
    assert gate_reports.markdown([]).count("|") == 0
    shown = gate_reports.markdown([Verdict("d", NASTY, "invalid", "")])
    assert r"x\|y\\n\\x1b\[31m&lt;b&gt;&amp;\\u202e\*\_\`\]\]&gt;\\ud800" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://x.org", "see https:<!-- -->//x.org"),
        ("ftp://x", "ftp:<!-- -->//x"),
        ("www.x.org WWW.x.org", "www<!-- -->.x.org WWW<!-- -->.x.org"),
        ("@who (@who) \\_@who", "@<!-- -->who (@<!-- -->who) \\\\\\_@<!-- -->who"),
        ("mailto:a@b_c.de", "mailto:a@<!-- -->b\\_c.de"),
        ("itw+reverb@0.6s", "itw+reverb@<!-- -->0.6s"),
        ("a/b#12", "a/b\\#<!-- -->12"),
        ("itw+mp3@64k, 3:1, 2 // 3", "itw+mp3@64k, 3:1, 2 // 3"),
    ],
)
def test_markdown_makes_no_link_of_a_bare_address(text: str, shown: str) -> None:
    """GitHub links addresses, people, mails and issues without any brackets: an empty comment parts them."""
    table = gate_reports.markdown([Verdict("d", text, "invalid", "why", "do")])
    assert f"| **invalid** | {shown} | d |" in table
    assert f"\n- {shown} on d: do\n" in table


def test_markdown_is_appended(tmp_path: Path) -> None:
    """A summary that other steps began keeps what it has, and a blank line parts the two."""
    place = tmp_path / "new" / "summary.md"
    gate_reports.append_markdown(place, VERDICTS)
    once = gate_reports.markdown(VERDICTS)
    assert place.read_text() == once
    gate_reports.append_markdown(place, VERDICTS)
    assert place.read_text() == f"{once}\n{once}"


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    """An error with the place and what to do, for both kinds of file."""
    for write in (gate_reports.write_junit, gate_reports.append_markdown):
        with pytest.raises(StoreError, match="cannot be written") as error:
            write(tmp_path, VERDICTS)
        assert (error.value.where, error.value.remedy) == (str(tmp_path), "name a file in a folder you may write to")


@pytest.mark.parametrize("width", [80, 160])
def test_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> None:
    """Every cell, number and reason at either width, remedies of what fails, no row wider than the terminal."""
    monkeypatch.setattr(terminal.out, "width", width)
    gate_reports.print_verdicts([*VERDICTS, Verdict("d", NASTY, "invalid", "[red]why[/red]")])
    shown = capsys.readouterr().out
    table = shown[: shown.index("\n\n")]
    assert max(map(len, table.splitlines())) <= width
    assert "not comparable" in table
    assert "7.2500" in table
    assert ("much worse; new weights" in table) == (width == 160)
    assert "much worse; new weights" in shown
    assert (
        "a on itw: regressed\n  remedy: look" in shown or "a on itw: much worse; new weights\n  remedy: look" in shown
    )
    assert "[red]why[/red]" in shown
    assert "\x1b" not in shown
    assert shown.endswith("5 of 8 cells fail: 1 regressed, 1 not comparable, 2 invalid, 1 missing; "
                          "1 uncertain, 1 new, 1 identical\n")  # fmt: skip


def test_what_was_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a cell, old -> new or why not, and how many."""
    found = [Acceptance("d", "a", True, "5.0000 -> 4.0000 %"), Acceptance("d", "b", False, "failed: \x1b[2J")]
    gate_reports.print_acceptances(found, Path("leaderboard.yml"), terminal.out)
    assert capsys.readouterr().out == (
        "a on d: 5.0000 -> 4.0000 %\nb on d: not accepted: failed: \\x1b[2J\naccepted 1 of 2 in leaderboard.yml\n"
    )


def test_the_xml_is_one_that_any_parser_reads(tmp_path: Path) -> None:
    """Surrogates, escapes and control characters are written out."""
    place = tmp_path / "junit.xml"
    gate_reports.write_junit(place, [Verdict(NASTY, NASTY, "invalid", NASTY, NASTY)])
    (case,) = ElementTree.parse(place).getroot().iter("testcase")
    assert case.get("name") == r"x|y\n\x1b[31m<b>&\u202e*_`]]>\ud800"
