"""The command that audits what is here: doctor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from bench import terminal
from bench.cli import shared
from bench.cli.shared import workspace_of


@click.command()
@click.option("--datasets", "-s", multiple=True, default=("all",), help="Names, globs, `all`.")
@click.option("--limit", type=click.IntRange(min=1), help="Look at a sample of about N trials of each.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@shared.places
def doctor(datasets: Sequence[str], as_json: bool, **options: Any) -> None:
    """Audit local corpora.

    Counts, missing and undecodable files, sample rates and durations by class. Exit status 1 when a file is missing or
    undecodable, or a dataset asked for by name is not here.
    """
    from bench import doctor

    with terminal.display() as display:
        findings = doctor.examine(workspace_of(options), datasets, display)
    if as_json:
        terminal.print_json({"datasets": [finding.as_dict() for finding in findings]})
    else:
        for finding in findings:
            terminal.out.print(finding.text(), soft_wrap=True)
    if not all(finding.healthy for finding in findings):
        sys.exit(1)
