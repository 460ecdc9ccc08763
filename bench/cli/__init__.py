"""The command line: parse, call, print. No logic of its own.

Heavy imports stay inside the commands, so that `bench --help` and a mistyped option answer at once.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

import click
from rich.text import Text

from bench import terminal
from bench.cli import audit, fuse, gate, pack, results, show, work
from bench.errors import BenchError


class Commands(click.Group):
    """Shows a `BenchError` without a traceback and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        # What ends a job on a cluster leaves what Ctrl-C leaves.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except BenchError as error:
            terminal.err.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            terminal.err.print("\ninterrupted; what was trained and scored so far is stored: run it again to go on")
            ctx.exit(130)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
)
@click.version_option(package_name="antispoof-bench", prog_name="bench")
def main() -> None:
    """Which audio-deepfake detector can be trusted on which data.

    \b
    bench demo                                          see everything work, offline, on a CPU
    bench run --detectors aasist --datasets itw         score, store, print EER and F1
    bench report                                        the leaderboard as a page
    """


for command in (
    work.list_,
    work.fetch,
    pack.pack,
    work.run,
    work.train,
    work.score,
    results.import_,
    fuse.fuse,
    show.show,
    results.report,
    gate.check,
    audit.doctor,
    work.demo,
):
    main.add_command(command)
