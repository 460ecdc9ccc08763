"""What an audit says: findings of three severities, gathered by subject, and a summary of all subjects.

error     something is wrong with what is here: scores made with it would be wrong or incomplete
warning   numbers can be computed, but should not be trusted before somebody has looked
note      good to know; nothing need be done
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from rich.text import Text

from bench.errors import BenchError

Severity: TypeAlias = Literal["error", "warning", "note"]
Subject: TypeAlias = Literal["dataset", "score file", "checkpoint"]

SUBJECTS: tuple[Subject, ...] = ("dataset", "score file", "checkpoint")
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
STYLES = {"error": "bold red", "warning": "bold yellow", "note": "bold"}
SHOWN = 10  # examples in the text; the JSON has all


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    kind: a word for programs, e.g. `missing`. what: the sentence, with the number. count: of the files, trials or lines
    that it is about. examples: all of them. remedy: what to do about it, '' for nothing.
    """

    kind: str
    severity: Severity
    what: str
    count: int = 1
    examples: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class Audit:
    """What is known of one subject.

    absent: it is not here; the one finding tells why, and is an error where the subject was asked for by name.
    files: audio files, score files or checkpoints that were read. lines: the facts in words; facts: for programs.
    """

    subject: Subject
    name: str
    findings: tuple[Finding, ...] = ()
    lines: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: int = 0
    absent: bool = False

    @property
    def healthy(self) -> bool:
        """Whether there is no error."""
        return not self.of("error")

    def of(self, severity: Severity) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == severity]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        findings = [asdict(finding) for finding in self.findings]
        return {"name": self.name, "healthy": self.healthy, "absent": self.absent, **self.facts, "findings": findings}

    def text(self) -> Text:
        """The block of a terminal: facts, then findings, the worst first."""
        name = (self.name, "bold green" if self.healthy and not self.absent else "bold red")
        if self.absent:
            (finding,) = self.findings
            style = STYLES["error" if finding.severity == "error" else "warning"]
            return Text.assemble((self.name, style), f": {finding.what}\n  remedy: {finding.remedy}\n")
        told: list[str | tuple[str, str]] = ["\n"]
        told += [f"  {line}\n" for line in self.lines]
        for severity in SEVERITIES:
            for finding in self.of(severity):
                told += ["  ", (severity, STYLES[severity]), f": {finding.what}\n"]
                told += [f"    {example}\n" for example in finding.examples[:SHOWN]]
                if (more := len(finding.examples) - SHOWN) > 0:
                    told.append(f"    … and {more:,} more (--json names all)\n")
                if finding.remedy:
                    told.append(f"    remedy: {finding.remedy}\n")
        return Text.assemble(name, *told)


def absent(subject: Subject, name: str, error: BenchError, *, named: bool) -> Audit:
    """The audit of what is not here."""
    what, remedy = error.reason(searched=named), error.remedy or ""
    finding = Finding("absent", "error" if named else "note", what, remedy=remedy)
    return Audit(subject, name, (finding,), absent=True)


def of_error(kind: str, error: BenchError) -> Finding:
    """What a reader or loader refused, as a finding."""
    return Finding(kind, "error", error.reason(), remedy=error.remedy or "")


def totals(audits: Sequence[Audit]) -> dict[str, int]:
    """How many subjects of each kind were examined, with how many files, and how many findings there are.

    What is not here, and was not asked for by name, is no finding.
    """
    here = [audit for audit in audits if not audit.absent]
    counts = {f"{name}s".replace(" ", "_"): sum(a.subject == name for a in here) for name in SUBJECTS}
    counts["files"] = sum(audit.files for audit in here)
    told = [audit for audit in audits if not (audit.absent and audit.healthy)]
    return counts | {f"{severity}s": sum(len(audit.of(severity)) for audit in told) for severity in SEVERITIES}


def summary(audits: Sequence[Audit]) -> Text:
    """What was examined, what was found, what is not here and what to do first."""
    count = totals(audits)
    examined = ", ".join(counted(count[f"{name}s".replace(" ", "_")], name) for name in SUBJECTS)
    found = ", ".join(counted(count[f"{severity}s"], severity) for severity in SEVERITIES)
    told: list[str | tuple[str, str]] = [
        ("summary", "bold"),
        f"\n  examined: {examined}; {counted(count['files'], 'file')} read",
        f"\n  found: {found}",
    ]
    unasked = [audit for audit in audits if audit.absent and audit.healthy]
    for name in SUBJECTS:
        if names := [audit.name for audit in unasked if audit.subject == name]:
            kind = "detectors" if name == "checkpoint" else "datasets"
            told.append(f"\n  not here: {', '.join(names)} (`bench list {kind}` tells how to get them)")
    worst = [(audit, finding) for severity in SEVERITIES[:2] for audit in audits for finding in audit.of(severity)]
    worst.sort(key=lambda one: one[0].absent)  # what is here and wrong comes before what is still to be got
    if worst:
        audit, finding = worst[0]
        told.append(f"\n  first: {audit.name}: {finding.what}")
        told += [f"\n    remedy: {finding.remedy}"] if finding.remedy else []
    return Text.assemble(*told)


def counted(count: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
