"""The page of a detector: its card, its cells, what others printed, its cost, its robustness, how to cite it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.families import whole
from bench.report import badges, citation, facts, places, shields
from bench.report.badges import Badge
from bench.report.facts import words
from bench.report.figures import Figure, bars, points, training
from bench.report.figures.bars import Bar
from bench.report.measured import Line, Measured
from bench.report.pages import render
from bench.report.site import Site
from bench.report.tables import Files, Table
from bench.report.trial_list import Row
from bench.uncertainty import Difference

WINDOWS = {
    "tile": "the first {samples} samples{seconds}, a shorter file repeated from its beginning",
    "pad": "the first {samples} samples{seconds}, a shorter file filled up with zeros",
    "whole": "the whole file",
    "facts": "only what the header of the file says",
    "none": "nothing: the file is not opened",
}
CURVE = ("stage", "epoch", "step", "training_loss", "validation_loss", "validation_eer", "best", "seconds")


@dataclass(frozen=True)
class Fact:
    """A line of the card. values: each with the site's page that it leads to, '' for none."""

    label: str
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Shield:
    """A badge of a cell. path: of its SVG in the site. markdown: '' where the address of the site is not known."""

    dataset: str
    path: str
    markdown: str


class Detector:
    """What the template shows of a detector. `plain` rows are those of whole datasets on clean audio.

    Args:
        found: its current cells, at least one. lines: of all detectors on its lists.
        record: train.json of its weights, None where they were not made here.
    """

    def __init__(
        self,
        name: str,
        found: Sequence[Measured],
        lines: Sequence[Line],
        record: Mapping[str, Any] | None,
        site: Site,
    ) -> None:
        self.name, self.record, self._lines, self._site = name, record, lines, site
        ranks = {line.dataset: line.rank for line in lines if line.detector == name}
        self.rows = [Row(one, ranks.get(one.dataset)) for one in found]
        self.measured = [row for row in self.rows if row.result.metrics is not None]
        self.plain = [row for row in self.measured if row.measured.dataset == whole(row.measured.dataset)]
        newest = max(self.rows, key=lambda row: str(row.result.cell.manifest.get("finished", "")))
        self.shown = next((row for row in (newest, *self.rows) if row.result.cell.manifest), newest)
        self.card: Mapping[str, Any] = self.shown.result.cell.manifest.get("detector") or {}
        self.page = places.detector(name)

    @property
    def title(self) -> str:
        return self.shown.title

    @property
    def badges(self) -> list[Badge]:
        return badges.of_detector(self.shown.result)

    @property
    def summary(self) -> str:
        return str(self.card.get("summary") or "")

    @property
    def mixed(self) -> bool:
        """Whether its cells are not all of the weights that the card above them tells of."""
        told = (row.result.cell.manifest.get("detector", {}).get("weights") or {} for row in self.measured)
        return len({weights.get("sha256") for weights in told}) > 1

    @property
    def facts(self) -> list[Fact]:
        """The card, and the weights that were found for it; what nobody tells is left out."""
        weights, arguments = self.card.get("weights") or {}, self.card.get("arguments") or {}
        told: dict[str, Sequence[Any]] = {
            "Name": [self.name],
            "Family": [self.card.get("family")],
            "Model": [self.card.get("model")],
            "Arguments": [", ".join(f"{key} = {json.dumps(value)}" for key, value in arguments.items())],
            "What it is given of a file": [audio_told(self.card.get("audio") or {})],
            "Parameters": [self.card.get("parameters")],
            "Paper": [self.card.get("paper")],
            "Code": [self.card.get("code")],
            "Licence": [self.card.get("licence")],
            "Weights": [weights.get("file")],
            "Source of the weights": [weights.get("source")],
            "Licence of the weights": [weights.get("licence")],
            "SHA-256 of the weights": [weights.get("sha256"), VERIFIED.get(self.shown.result.weights or "")],
            "Decision": [self._decision()],
            "Notices": self.card.get("notices") or (),
            "Notes": self.card.get("notes") or (),
        }
        plain = [Fact(label, [(words(value), "") for value in values if value]) for label, values in told.items()]
        return [fact for fact in (*plain, *self._seen()) if fact.values]

    def _seen(self) -> Iterator[Fact]:
        known = {line.dataset for line in self._lines}
        for label, field in (("Trained on", "trained_on"), ("Selected on", "selected_on")):
            names = map(str, self.card.get(field) or ())
            yield Fact(label, [(name, places.dataset(name) if name in known else "") for name in names])

    def _decision(self) -> str:
        rule = self.card.get("decision") or {}
        return f"bona fide where {rule['column']} > {rule['threshold']:g}" if rule else ""

    def peers(self, row: Row) -> int:
        """How many detectors are ranked on its list, itself among them."""
        place = (row.measured.dataset, row.result.digest)
        return sum(line.rank is not None and (line.dataset, line.digest) == place for line in self._lines)

    # --- tables -------------------------------------------------------------------------------------------------------

    @property
    def cells(self) -> Table:
        rows = [
            {
                "dataset": row.measured.dataset,
                "digest": row.result.digest,
                "eer": row.result.eer,
                **_ends(row),
                "rank": row.rank,
                "ranked": self.peers(row),
                "f1_bonafide": row.result.f1_bonafide,
                "leakage": row.result.leakage,
                "status": row.result.cell.status,
                "reason": facts.public(row.result.cell.reason or row.result.caveat),
                **{name: _timing(row, name) for name in TIMINGS},
                "hardware": words(row.result.cell.manifest.get("hardware") or {}),
                "finished": row.result.cell.manifest.get("finished"),
            }
            for row in self.rows
        ]
        return Table("cells", CELLS, rows)

    @property
    def published(self) -> Table:
        rows = [
            {
                "dataset": row.measured.dataset,
                "published": one.entry.eer / 100,
                "source": one.entry.source,
                "note": one.entry.note,
                "eer": row.result.eer,
                **_ends(row),
                "verdict": one.kind,
                "text": one.text,
            }
            for row in self.plain
            for one in row.published
        ]
        return Table("published", PUBLISHED, rows)

    @property
    def robustness(self) -> Table:
        rows = [
            {
                "dataset": row.measured.dataset,
                "clean": told.clean,
                "eer": row.result.eer,
                "difference": found.value if found else None,
                "difference_low": found.interval.low if found else None,
                "difference_high": found.interval.high if found else None,
                "p_value": found.p_value if found else None,
                "reason": facts.public(told.reason),
            }
            for row in self.measured
            if (told := row.result.degradation) is not None
            for found in (told.difference,)
        ]
        return Table("robustness", ROBUSTNESS, rows)

    @property
    def calibration(self) -> Table:
        names = ("cllr", "act_dcf", "min_dcf")
        rows = [
            {"dataset": row.measured.dataset, **{name: (row.result.metrics or {}).get(name) for name in names}}
            for row in self.measured
        ]
        return Table("calibration", CALIBRATION, rows)

    @property
    def training(self) -> Table:
        rows = [{name: point.get(name) for name in CURVE} for point in self._points()]
        return Table("training", dict(zip(CURVE, TRAINING, strict=True)), rows)

    @property
    def tables(self) -> list[Table]:
        always, others = self.cells, (self.published, self.robustness, self.calibration, self.training)
        return [always, *(table for table in others if table.rows)]

    # --- figures ------------------------------------------------------------------------------------------------------

    def _points(self) -> list[Mapping[str, Any]]:
        """The curve of all stages, as far as it can be read."""
        stages = (self.record or {}).get("stages")
        curves = [stage.get("curve") for stage in stages or () if isinstance(stage, Mapping)]
        return [point for curve in curves if isinstance(curve, list) for point in curve if _readable(point)]

    @property
    def learned(self) -> Figure | None:
        found = self._points()
        return training.curves("training", found, "Loss and EER of the dev set by epoch") if found else None

    @property
    def against_speed(self) -> Figure | None:
        """Of the list with most detectors among those that it has a speed and an EER on."""
        told = [line for line in self._lines if line.speed and line.eer is not None]
        own = [line for line in told if line.detector == self.name]
        if not own:
            return None
        counts = Counter((line.dataset, line.digest) for line in told)
        best = max(own, key=lambda line: (counts[line.dataset, line.digest], line.leakage == "held-out"))
        lines = [line for line in told if (line.dataset, line.digest) == (best.dataset, best.digest)]
        return points.speed("speed", lines, self.name, f"EER against speed on {best.dataset}")

    @property
    def degraded(self) -> Figure | None:
        rows = [_bar(row.measured.dataset, told.difference) for row, told in self._degradations() if told.difference]
        title = "EER under perturbations minus that on the clean audio, with 95 % intervals"
        return bars.intervals("robustness", rows, title, "EER difference (pp)") if rows else None

    def _degradations(self) -> Iterator[tuple[Row, Any]]:
        return ((row, row.result.degradation) for row in self.measured if row.result.degradation is not None)

    # --- badge and citation -------------------------------------------------------------------------------------------

    @property
    def drawn(self) -> dict[str, bytes]:
        """Datasets with a badge, and its SVG: held-out ones first, then by the number of detectors on the list."""
        order = sorted(self.plain, key=lambda row: (row.result.leakage != "held-out", -self.peers(row)))
        found = {row.measured.dataset: shields.svg(row.measured) for row in order}
        return {dataset: svg for dataset, svg in found.items() if svg is not None}

    @property
    def shields(self) -> list[Shield]:
        base = self._site.base_url
        told = []
        for dataset in self.drawn:
            path = places.beside(self.page, f"badge-{places.slug(dataset)}.svg")
            address = f"{base}{self.page.removesuffix(places.PAGE)}"
            told.append(Shield(dataset, path, shields.markdown(f"{base}{path}", address) if base else ""))
        return told

    @property
    def bibtex(self) -> str:
        return citation.of_detector([row.measured for row in self.rows], self._site)


def build(
    detector: str, found: Sequence[Measured], lines: Sequence[Line], record: Mapping[str, Any] | None, site: Site
) -> Files:
    """The page, its tables and its badges.

    Args:
        found: the current cells of the detector, at least one. lines: of all detectors on its lists.
        record: train.json of the training that made its weights; None where there is none.
    """
    shown = Detector(detector, found, lines, record, site)
    files = {shown.page: render("detector.html", shown.page, shown=shown, public=facts.public, words=words)}
    for table in shown.tables:
        files |= table.files(shown.page.rpartition("/")[0])
    drawn = shown.drawn
    for shield in shown.shields:
        files[shield.path] = drawn[shield.dataset]
    if drawn:
        files[places.beside(shown.page, "badge.svg")] = next(iter(drawn.values()))
    return files


def audio_told(recipe: Mapping[str, Any]) -> str:
    """An audio recipe in words, '' for none."""
    if recipe.get("window") not in WINDOWS:
        return ""
    samples, rate, epsilon = recipe.get("samples") or 0, recipe.get("rate") or 16_000, recipe.get("epsilon")
    told = WINDOWS[recipe["window"]].format(samples=f"{samples:,}", seconds=f" ({samples / rate:.2f} s)")
    if recipe["window"] in ("facts", "none"):
        return told
    norm = f"zero mean and unit variance (epsilon {epsilon:g})" if epsilon else "the waveform as it is"
    return f"{told}, at {rate:,} Hz; {norm}"


def _ends(row: Row) -> dict[str, float | None]:
    interval = row.interval
    return {"eer_low": interval.low if interval else None, "eer_high": interval.high if interval else None}


def _timing(row: Row, name: str) -> float | None:
    value = (row.result.cell.manifest.get("timings") or {}).get(name)
    return value if isinstance(value, int | float) else None


def _bar(label: str, found: Difference) -> Bar:
    return Bar(label, found.value, found.interval.low, found.interval.high)


def _readable(point: Any) -> bool:
    """Whether a point of a curve is as training writes it: finite numbers, or none."""
    if not isinstance(point, Mapping) or not {"stage", "epoch", "best"} <= point.keys():
        return False
    numbers = [point.get(name) for name in ("training_loss", "validation_loss", "validation_eer")]
    finite = all(isinstance(one, int | float) and math.isfinite(one) for one in numbers if one is not None)
    return finite and all(name in point for name in CURVE)


VERIFIED = {
    "verified": "the published one",
    "unverified": "none is published to compare it with",
    "trained here": "of weights that were made here from the recipe of the card",
}
TIMINGS = {
    "audio_seconds_per_second": "seconds of audio in a second of forward time",
    "real_time_factor": "forward seconds for a second of audio",
    "forward_seconds": "of the whole cell",
    "peak_memory_bytes": "of the device; of the whole pass, which detectors of one audio recipe share",
}
ENDS = {
    "eer_low": "lower end of the 95 % interval of the EER",
    "eer_high": "upper end of the 95 % interval of the EER",
}
CELLS = {
    "dataset": "its name",
    "digest": "of the trial list, 64 hex",
    "eer": "equal error rate, a fraction; the mean over the seeds where there are several",
    **ENDS,
    "rank": "on the trial list; detectors that cannot be told apart share one",
    "ranked": "detectors that have a rank on the trial list",
    "f1_bonafide": "F1, bona fide positive, at the test-set EER threshold",
    "leakage": "what the weights may have seen of the dataset",
    "status": "of the cell",
    "reason": "why it is not complete",
    **TIMINGS,
    "hardware": "that it was scored on",
    "finished": "when",
}
PUBLISHED = {
    "dataset": "its name",
    "published": "EER that was printed, a fraction",
    "source": "where",
    "note": "what the card says of it",
    "eer": "ours, a fraction",
    **ENDS,
    "verdict": "reproduced, off, or not comparable",
    "text": "in words",
}
ROBUSTNESS = {
    "dataset": "the perturbed one",
    "clean": "what it is compared with, trial by trial",
    "eer": "under the perturbation, a fraction",
    "difference": "that EER minus the clean one, a fraction",
    "difference_low": "lower end of its 95 % interval",
    "difference_high": "upper end of its 95 % interval",
    "p_value": "two-sided",
    "reason": "why there is no difference, or what must be said of it",
}
CALIBRATION = {
    "dataset": "its name",
    "cllr": "in bits",
    "act_dcf": "detection cost of the Bayes decision",
    "min_dcf": "lowest detection cost that any threshold reaches",
}
TRAINING = (
    "of the recipe",
    "of the stage",
    "of the stage",
    "mean since the last point",
    "on the dev list",
    "on the dev list, a fraction",
    "whether it was the best so far",
    "since the stage began",
)
