"""The command that looks at stored results: show, and what it can be asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from rich.console import RenderableType

from bench import terminal
from bench.cli import shared
from bench.cli.shared import existing
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.development import Applied
    from bench.results import Result
    from bench.store import Store


@click.command()
@click.option("--detectors", "-d", multiple=True, help="Only these (names or globs).")
@click.option("--datasets", "-s", multiple=True, help="Only these (names or globs).")
@click.option("--compare", nargs=2, metavar="FIRST SECOND", help="The paired difference of two detectors' EERs.")
@click.option("--averages", is_flag=True, help="Macro and pooled EER over datasets, all and held-out ones.")
@click.option("--phases", is_flag=True, help="The lists of one corpus side by side, such as phases of ASVspoof 2021.")
@click.option("--threshold-from", metavar="DATASET", help="What each detector's EER threshold there gives elsewhere.")
@click.option("--calibrate-from", metavar="DATASET", help="Cllr and actDCF before and after calibration there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: fractions under the names of bench.evaluate.")
@shared.results
def show(detectors: Sequence[str], datasets: Sequence[str], as_json: bool, results: Path, **asked: Any) -> None:
    """The stored cells and their metrics. Needs neither corpora nor weights.

    The 95 % intervals are of a bootstrap over speakers and attacks, or over single trials where the list names neither;
    the first look at a large cell takes some seconds for them. Exit status 1 where a comparison is refused.
    """
    from bench.results import collect

    questions = {name: value for name, value in asked.items() if value}
    if len(questions) > 1:
        told = " and ".join(f"--{name.replace('_', '-')}" for name in questions)
        raise UsageError(f"{told} are different questions", remedy="ask one of them at a time")
    store = existing(results)
    found = collect(store, datasets or None, asked["compare"] or detectors or None, breakdowns=False)
    if not questions:
        _cells(found, as_json)
    for name, value in questions.items():
        answer = VIEWS[name](store, found, value)
        if as_json:
            terminal.print_json({name: answer.told})
        else:
            terminal.out.print(answer.shown)
        if not answer.ok:
            sys.exit(1)


class Answer(NamedTuple):
    """What a question has to say: for a terminal, for a program, and whether it could be answered."""

    shown: RenderableType
    told: Any
    ok: bool = True


def _cells(found: Sequence[Result], as_json: bool) -> None:
    from bench import results

    if as_json:
        terminal.print_json(results.as_json(found))
    elif found:
        terminal.print_results(found)
    else:
        terminal.out.print("there are no results here yet")


def _compare(store: Store, found: Sequence[Result], names: tuple[str, str]) -> Answer:
    from bench import comparison
    from bench.scored import trial_lists

    compared = comparison.pairs(found, *names, trial_lists(store))
    return Answer(comparison.text(compared), comparison.as_json(compared), comparison.complete(compared))


def _averages(store: Store, found: Sequence[Result], _: bool) -> Answer:
    from bench import averages

    averaged = averages.averages(found, store)
    return Answer(averages.table(averaged), averages.as_json(averaged))


def _phases(store: Store, found: Sequence[Result], _: bool) -> Answer:
    from bench import phases

    families = phases.phases(found, store)
    return Answer(phases.table(families), phases.as_json(families))


def _thresholds(store: Store, found: Sequence[Result], dev: str) -> Answer:
    from bench import operating

    rows = _elsewhere(operating.carried_over(store, found, dev), dev)
    return Answer(operating.table(dev, rows, terminal.out.width), operating.as_json(dev, rows))


def _elsewhere(rows: list[Applied], dev: str) -> list[Applied]:
    """Raises UsageError where there is nothing to apply it to."""
    if not rows:
        raise UsageError(f"there is no cell but on {dev} itself", remedy="name other --datasets, or score some")
    return rows


def _calibrations(store: Store, found: Sequence[Result], dev: str) -> Answer:
    from bench import calibration

    rows = _elsewhere(calibration.calibrated(store, found, dev), dev)
    return Answer(calibration.table(dev, rows, terminal.out.width), calibration.as_json(dev, rows))


VIEWS: Mapping[str, Callable[[Store, Sequence[Result], Any], Answer]] = {
    "compare": _compare,
    "averages": _averages,
    "phases": _phases,
    "threshold_from": _thresholds,
    "calibrate_from": _calibrations,
}
