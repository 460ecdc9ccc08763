"""The verdicts of `bench check` for machines and people: JUnit, Markdown, JSON, terminal.

Names and reasons may hold what strangers wrote: what a format would obey is written out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import regression, terminal
from bench.errors import StoreError
from bench.files import atomically
from bench.gate import Acceptance
from bench.regression import Verdict
from bench.text import printable

ELEMENTS = {
    "regressed": "failure",
    "not comparable": "failure",
    "invalid": "error",
    "missing": "error",
    "new": "skipped",
}
COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
# What GitHub makes a link of without any brackets: an address, `www.`, @somebody, a mail address, #12. A backslash does
# not stop all of them, an empty comment in their middle does.
LINKED = re.compile(r"(:(?=//)|www(?=\.)|(?<![A-Za-z0-9])@(?=\w)|@(?=[\w\\-]+\.)|#(?=\d))", re.IGNORECASE)
STYLES = {"regressed": "red", "not comparable": "red", "invalid": "red", "missing": "red", "improved": "green"}


def as_json(verdicts: Sequence[Verdict], acceptances: Sequence[Acceptance]) -> dict[str, Any]:
    """What `bench check --json` prints: fractions, but for what is named in percentage points."""
    return {
        "passed": not any(one.fails for one in verdicts),
        "summary": regression.summary(verdicts),
        "verdicts": [one.as_json() for one in verdicts],
        "accepted": [asdict(one) for one in acceptances],
    }


def write_junit(place: Path, verdicts: Sequence[Verdict]) -> None:
    """One test case a cell: classname its dataset, name its detector. Raises StoreError: not writable.

    `regressed` and `not comparable` are failures, `invalid` and `missing` errors, `new` is skipped: it was compared
    with nothing.
    """
    found = [ELEMENTS.get(one.kind) for one in verdicts]
    counts = {name: str(found.count(element)) for name, element in COUNTED.items()}
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "bench check", "tests": str(len(verdicts)), **counts})
    for one, element in zip(verdicts, found, strict=True):
        names = {"classname": printable(one.dataset), "name": printable(one.detector)}
        case = ElementTree.SubElement(suite, "testcase", names)
        properties = ElementTree.SubElement(case, "properties")
        for name, value in _properties(one).items():
            ElementTree.SubElement(properties, "property", {"name": name, "value": printable(value)})
        told = printable(f"{one.kind}: {one.told}")
        if element is None:
            ElementTree.SubElement(case, "system-out").text = told
        else:
            about = {"message": told} if element == "skipped" else {"message": told, "type": one.kind}
            ElementTree.SubElement(case, element, about).text = printable(one.remedy)
    ElementTree.indent(suites)
    tree = ElementTree.ElementTree(suites)
    _explained(place, lambda: atomically(place, lambda part: tree.write(part, encoding="utf-8", xml_declaration=True)))


def _properties(one: Verdict) -> dict[str, str]:
    told: dict[str, str] = {"verdict": one.kind}
    numbers = {
        "accepted_eer_percent": None if one.accepted is None else 100 * one.accepted,
        "eer_percent": None if one.eer is None else 100 * one.eer,
        "change_pp": one.change,
        "tolerance_pp": one.tolerance,
    }
    if one.difference is not None and one.unit is not None:
        low, high = one.difference.interval.low, one.difference.interval.high
        numbers |= {"interval_low_pp": 100 * low, "interval_high_pp": 100 * high, "p_value": one.difference.p_value}
        told["unit"] = one.unit.text
    return told | {name: f"{value:.4f}" for name, value in numbers.items() if value is not None}


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A heading, a table with a line a cell, what to do about those that fail."""
    lines = ["### EER check", "", _plain(regression.summary(verdicts)), ""]
    if verdicts:
        lines += ["| verdict | detector | dataset | accepted EER % | EER % | change, pp | why |"]
        lines += ["|---|---|---|--:|--:|--:|---|"]
    for one in verdicts:
        kind = f"**{one.kind}**" if one.fails else one.kind
        cells = [kind, _plain(one.detector), _plain(one.dataset), *_numbers(one), _plain(one.told)]
        lines.append(f"| {' | '.join(cells)} |")
    remedies = [f"- {_plain(_named(one))}: {_plain(one.remedy)}" for one in verdicts if one.fails]
    return "\n".join([*lines, *(["", *remedies] if remedies else [])]) + "\n"


def append_markdown(place: Path, verdicts: Sequence[Verdict]) -> None:
    """Behind what the file holds, as other steps of a CI run write theirs. Raises StoreError: not writable."""

    def append() -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a", encoding="utf-8") as file:
            file.write(f"\n{markdown(verdicts)}" if file.tell() else markdown(verdicts))

    _explained(place, append)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """The table; what is said of each cell beside its numbers, or below them in a narrow terminal."""
    wide = terminal.out.width >= terminal.WIDE
    table = Table(**terminal.PLAIN)
    for name in ("verdict", "detector", "dataset"):
        table.add_column(name, overflow="fold", no_wrap=name == "verdict")
    for name in ("accepted %", "EER %", "change pp"):
        table.add_column(name, justify="right", no_wrap=True, min_width=8)
    if wide:
        table.add_column("why", overflow="fold")
    for one in verdicts:
        names = [Text(printable(name)) for name in (one.detector, one.dataset)]
        why = [Text(printable(one.told))] if wide else []
        table.add_row(Text(one.kind, STYLES.get(one.kind, "")), *names, *_numbers(one), *why)
    if verdicts:
        terminal.out.print(table)
    for one in verdicts:
        if not wide and one.kind != "identical":
            terminal.print_reason(_named(one), printable(one.told), printable(one.remedy) if one.fails else "")
        elif one.fails:
            terminal.print_reason(_named(one), one.kind, printable(one.remedy))
    terminal.out.print(f"\n{regression.summary(verdicts)}", soft_wrap=True, highlight=False)


def print_acceptances(acceptances: Sequence[Acceptance], file: Path, console: Console) -> None:
    """What changed in the file, a line a cell; what was not accepted, and why."""
    for one in acceptances:
        told = one.told if one.done else f"not accepted: {one.told}"
        console.print(Text.assemble((_named(one), "bold"), f": {printable(told)}"), soft_wrap=True)
    done = sum(one.done for one in acceptances)
    console.print(f"accepted {done} of {len(acceptances)} in {file}", soft_wrap=True, highlight=False)


def _numbers(one: Verdict) -> list[str]:
    rates = [f"{100 * rate:.4f}" if rate is not None else "–" for rate in (one.accepted, one.eer)]
    return [*rates, "–" if one.change is None else f"{one.change:+.4f}"]


def _named(one: Verdict | Acceptance) -> str:
    return f"{printable(one.detector)} on {printable(one.dataset)}"


def _plain(text: str) -> str:
    """A text as Markdown shows it, on one line and in one cell of a table: no link, no emphasis, no HTML."""
    shown = re.sub(r"([\\|*_`\[\]~#])", r"\\\1", html.escape(printable(text), quote=False))
    return LINKED.sub(r"\1<!-- -->", shown)


def _explained(place: Path, write: Any) -> None:
    try:
        write()
    except (OSError, StoreError) as error:
        told = error.what if isinstance(error, StoreError) else f"cannot be written: {error.strerror}"
        raise StoreError(told, where=place, remedy="name a file in a folder you may write to") from None
