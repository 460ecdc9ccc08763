"""The command that compares the store with what was accepted: check."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bench import terminal
from bench.cli import shared
from bench.cli.shared import existing

STDOUT = Path("-")


@click.command()
@shared.leaderboard
@click.option("--board", help="Only the detectors and datasets of this board of the file.")
@click.option("--detectors", "-d", multiple=True, help="Only these (names or globs).")
@click.option("--datasets", "-s", multiple=True, help="Only these (names or globs).")
@click.option("--tolerance", type=float, metavar="PP", help="Percentage points of EER, in place of those of the file.")
@click.option("--accept", is_flag=True, help="Make what the store holds now the accepted results.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write a JUnit report.")
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append a table in Markdown, e.g. to $GITHUB_STEP_SUMMARY; - prints it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: fractions, `_pp` in percentage points.")
@shared.results
@shared.cards
def check(
    leaderboard: Path,
    board: str | None,
    detectors: Sequence[str],
    datasets: Sequence[str],
    tolerance: float | None,
    accept: bool,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
    results: Path,
    cards: Path | None,
) -> None:
    """Compare the store with the accepted results of leaderboard.yml.

    Needs neither corpora nor weights. Exit status 1 when a cell regressed, is not comparable, missing or invalid: worse
    than the tolerance alone is no regression while the paired interval of the difference holds zero. With --accept,
    when one could not be accepted.
    """
    from bench import gate_reports
    from bench.gate import Gate

    if as_json and markdown == STDOUT:
        raise click.UsageError("--json and --markdown - both print: give one of them a file or leave it out")
    gate = Gate(existing(results), leaderboard, tolerance=tolerance, make=accept)
    verdicts = gate.check(board, detectors or None, datasets or None, cards)
    accepted = gate.accept(verdicts) if accept else []
    if junit is not None:
        gate_reports.write_junit(junit, verdicts)
    if markdown == STDOUT:
        click.echo(gate_reports.markdown(verdicts), nl=False)
    elif markdown is not None:
        gate_reports.append_markdown(markdown, verdicts)
    if as_json:
        terminal.print_json(gate_reports.as_json(verdicts, accepted))
    elif markdown != STDOUT:
        gate_reports.print_verdicts(verdicts)
    if accept:
        console = terminal.err if as_json or markdown == STDOUT else terminal.out
        gate_reports.print_acceptances(accepted, leaderboard, console)
    failed = any(not one.done for one in accepted) if accept else any(one.fails for one in verdicts)
    if failed:
        sys.exit(1)
