"""Commands that write or take over results: import, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from bench import terminal
from bench.cli import shared
from bench.cli.shared import existing, workspace_of


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--detector", required=True, help="The name the scores shall have.")
@click.option("--dataset", required=True, help="The dataset they are of.")
@click.option("--allow-missing", is_flag=True, help="Accept a file that lacks trials of the dataset.")
@shared.places
def import_(file: Path, detector: str, dataset: str, **options: Any) -> None:
    """Take over a score file made elsewhere.

    Text or gzip, higher = more bona fide: `trial score` a line, the four columns of an official baseline, or a table
    with a header such as `trial,score`. A trial is the same with or without folders and audio suffix.
    """
    from bench import imports, results

    workspace = workspace_of(options)
    cell, notes = imports.import_scores(workspace, file, detector, dataset)
    for note in notes:
        terminal.err.print(Text(note), soft_wrap=True)
    terminal.print_results([results.evaluate_cell(workspace.store, cell)])


@click.command()
@click.option("--out", "folder", type=click.Path(path_type=Path), default="site", help="Folder to write.")
@shared.results
def report(folder: Path, results: Path) -> None:
    """Write the leaderboard as one static page.

    It needs no server and no network.
    """
    from bench import report

    terminal.out.print(f"wrote {report.write(existing(results), folder)}", soft_wrap=True, highlight=False)
