"""The look of every figure in one place, and the step from a chart and its data to a `Figure`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias
from unicodedata import east_asian_width

import altair as alt

from bench.errors import DataError, UsageError
from bench.report import places
from bench.report.figures import Figure, drawing
from bench.text import printable
from bench.trials import BONAFIDE, SPOOF

Rows: TypeAlias = Sequence[Mapping[str, Any]]

# Tokens of reports/static/style.css: vega hands them through to the SVG.
PAGE, RAISED, TEXT, MUTED, LINE = (f"var(--{token})" for token in ("page", "raised", "text", "muted", "line"))
OF_CLASS = {BONAFIDE: "var(--bonafide)", SPOOF: "var(--spoof)"}
NAME_OF_CLASS = {BONAFIDE: "bona fide", SPOOF: "spoofed"}
SERIES = tuple(f"var(--series-{number})" for number in range(1, 9))
DASHES = [[1, 0]] * 4 + [[5, 3]] * 4  # colours alone do not tell eight curves apart
SHAPES = ("circle", "triangle-up", "diamond")
NAMES_LIMIT = 200  # pixels of a name beside its row

DRAWABLE = (1e-290, 1e300)  # at smaller and larger numbers vega's axes end in an error

FONT = "system-ui, sans-serif"
SIZE = 12
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "aria": False,  # the page says what the figure shows
    "font": FONT,
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "labelFontSize": SIZE,
        "titleColor": TEXT,
        "titleFontSize": SIZE,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": LINE,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "tickSize": 4,
        "labelFlush": False,
        "labelLimit": 0,  # of numbers; a limit costs as much as the rest of a label
    },
    "legend": {
        "labelColor": TEXT,
        "labelFontSize": SIZE,
        "labelLimit": 300,
        "title": None,
        "orient": "bottom",
        "columns": 2,
        "symbolStrokeWidth": 2,
        "symbolSize": 100,
        "offset": 8,
    },
    "text": {"color": TEXT, "fontSize": SIZE},
    "rule": {"color": MUTED},
    "header": {"labelColor": TEXT, "labelFontSize": SIZE, "labelAnchor": "start", "labelLimit": 340, "title": None},
}


@dataclass(frozen=True)
class Kind:
    """A kind of figure: its specifications, with slots, strings that begin with `@`, for what differs between figures.

    static: what is drawn. live: what the script shows, with marks that only tell something under a pointer.

    altair needs longer to build a chart than vl-convert to draw it, so each kind is built once in a process.
    """

    static: Mapping[str, Any]
    live: Mapping[str, Any]


def kind_of(static: alt.TopLevelMixin, live: alt.TopLevelMixin | None = None) -> Kind:
    # The tests validate what comes out: with slots it does not fit the schema, and that costs as much as drawing.
    written = static.to_dict(validate=False)
    return Kind(written, written if live is None else live.to_dict(validate=False))


def layered(*layers: alt.Chart) -> alt.LayerChart:
    """Layers of the size in the slots `width` and `height`."""
    return alt.LayerChart(layer=list(layers), width="@width", height="@height")  # type: ignore[arg-type]  # slots


def with_names(*layers: alt.Chart) -> alt.LayerChart:
    """Layers whose rows begin with names: a browser's font may be wider than the one that vl-convert measures."""
    chart = layered(*layers)
    chart.padding = {"left": 32, "right": 12, "top": 4, "bottom": 4}
    return chart


def figure(
    name: str,
    title: str,
    alternative: str,
    kind: Kind,
    slots: Mapping[str, Any],
    data: Mapping[str, Rows],
) -> Figure:
    """A figure of a kind, with its slots and its data filled in.

    Args:
        slots: without `@`; JSON values, written as they are. data: the rows of each named data, JSON values.
    """
    identity = places.slug(name)
    told = _printable(slots)
    rest = {"config": CONFIG, "datasets": _printable(data)}
    svg, width = drawing.svg(_filled(kind.static, told) | rest, identity)
    spec = _filled(kind.live, told) | rest
    return Figure(name=identity, title=title, alt=printable(alternative), svg=svg, spec=spec, width=width)


def _printable(value: Any) -> Any:
    """With printable texts alone: at a control character vl-convert ends the process."""
    if isinstance(value, Mapping):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value if not isinstance(value, str) or value.isprintable() else printable(value)


def _filled(part: Any, slots: Mapping[str, Any]) -> Any:
    if isinstance(part, Mapping):
        return {key: _filled(value, slots) for key, value in part.items()}
    if isinstance(part, list):
        return slots[part[0][1:]] if _slot(part[:1]) else [_filled(value, slots) for value in part]
    return slots[part[1:]] if _slot([part]) else part


def _slot(found: Sequence[Any]) -> bool:
    return len(found) == 1 and isinstance(found[0], str) and found[0].startswith("@")


def labels(given: Iterable[str], what: str) -> list[str]:
    """Printable labels.

    Raises:
        UsageError: none, or one twice.
    """
    found = [printable(label) for label in given]
    if not found:
        raise UsageError(f"a figure needs at least one {what}")
    double = [label for label, count in Counter(found).items() if count > 1]
    if double:
        raise UsageError(f"two of what a figure shows are called {double[0]!r}: each {what} needs a label of its own")
    return found


def shortened(label: str, letters: int) -> str:
    """A label of about so many letters at most; wide ones, as of Chinese, count twice.

    For text beside a point: a limit in pixels would be measured letter by letter by vl-convert.
    """
    ends = accumulate(2 if east_asian_width(letter) in "WF" else 1 for letter in label)
    room = sum(end <= letters for end in ends)
    return label if room == len(label) else f"{label[: max(room - 1, 0)]}…"


def axis_title(text: str) -> str:
    """A title as long as an axis."""
    return shortened(printable(text), 40)


def finite(values: Iterable[float], what: str) -> list[float]:
    """Numbers for a specification, to six significant digits; those outside of `DRAWABLE` to its ends, or zero.

    Raises:
        DataError: one is NaN or infinite.
    """
    found = [float(f"{value:.6g}") for value in values]
    if not all(map(math.isfinite, found)):
        raise DataError(f"{what} of a figure is not a finite number")
    least, most = DRAWABLE
    return [math.copysign(min(abs(value), most), value) if abs(value) >= least else 0.0 for value in found]


@dataclass(frozen=True)
class Look:
    """How the points of a kind look, and what a legend calls it."""

    label: str
    colour: str
    shape: str = "circle"


def looks(kinds: Iterable[str]) -> dict[str, Look]:
    """A look for each kind of trial, in the order of a legend: classes first, then by count, then by name.

    Kinds beyond those that can be told apart share one look, `N others`.
    """
    counted = Counter(kinds)
    found = {kind: Look(NAME_OF_CLASS[kind], colour) for kind, colour in OF_CLASS.items() if kind in counted}
    others = sorted(counted.keys() - found.keys(), key=lambda kind: (-counted[kind], kind))
    # The colours of the classes are the first two, and the last one is grey.
    pairs = [(colour, shape) for shape in SHAPES for colour in (SERIES[2:-1] if found else SERIES[:-1])]
    own = others if len(others) <= len(pairs) else others[: len(pairs)]
    found |= {kind: Look(printable(kind) or "unknown", *pair) for kind, pair in zip(own, pairs, strict=False)}
    rest = Look(f"{len(others) - len(own)} others", MUTED)
    return found | dict.fromkeys(others[len(own) :], rest)


def percent(fraction: float, digits: int = 2) -> str:
    return f"{100 * fraction:.{digits}f} %"
