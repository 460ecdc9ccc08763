"""Figures: the numbers they show, names that stay text, and SVG that may stand inside a page."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import altair as alt
import av
import numpy as np
import pandas as pd
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from bench.errors import DataError, UsageError
from bench.registry import shipped
from bench.report import bundle
from bench.report.figures import Figure, bars, curves, distributions, points, theme, training
from bench.report.measured import Drawn, Line, draw
from bench.scored import Scored
from bench.store import Cell
from bench.trials import BONAFIDE, SPOOF
from tests.stores import gaussian, numbered

HOSTILE = "<img src=x onerror=alert(1)> ]]> \"'&{{ 7*7 }} @width 話\u202e\x00 " + "ü" * 270
SHOWN = "<img src=x onerror=alert(1)> ]]> \"'&"  # as it begins, wherever it stands
EXPRESSIONS = {"expr", "labelExpr", "test", "filter", "calculate", "signal", "field", "as", "lookup", "key"}


def drawn(seed: int = 0, shift: float = 1.5, counts: tuple[int, int] = (60, 140)) -> Drawn:
    return draw(scored(np.concatenate(gaussian(seed, shift, counts)), counts))


def scored(scores: np.ndarray, counts: tuple[int, int]) -> Scored:
    """Scores of so many bona fide and then so many spoofed trials, of no cell."""
    trials = numbered(*counts, "t")
    cell = Cell("set", "det", "", "complete")
    return Scored(cell, pd.DataFrame({"trial": trials["trial"], "score": scores}), trials, 0)


def line(detector: str, eer: float | None, speed: float | None) -> Line:
    return Line("set", "d", detector, detector, "ssl", eer, 1, "held-out", speed, None)


def epoch(stage: str, number: int, loss: float, eer: float | None = None, **more: Any) -> dict[str, Any]:
    point = {"stage": stage, "epoch": number, "training_loss": loss, "validation_loss": None, "validation_eer": eer}
    return {**point, "best": True, **more}


KINDS: dict[str, Callable[[str], Figure]] = {
    "one DET curve": lambda name: curves.det("a", {name: drawn()}, {name: 0.2}, name),
    "DET curves": lambda name: curves.det("a", {name: drawn(), "b": drawn(1)}, {name: 0.2, "b": 0.3}, name),
    "histogram": lambda name: distributions.histogram("a", drawn(), {name: 0.7}, name),
    "ridges": lambda name: distributions.ridges("a", {name: drawn(), "b": drawn(1)}, name),
    "violin": lambda name: distributions.violin("a", {name: np.arange(9.0), BONAFIDE: np.ones(3)}, name, name),
    "intervals": lambda name: bars.intervals("a", [bars.Bar(name, 0.1, 0.05, 0.2, name)], name, name),
    "heat map": lambda name: bars.heatmap("a", [name, "b"], [name], [[0.123], [None]], name, name, name),
    "scatter": lambda name: points.scatter("a", np.ones(2), np.ones(2), [name, SPOOF], name, name, name, [name, name]),
    "speed": lambda name: points.speed("a", [line(name, 0.1, 30.0), line("b", 0.05, 3.0)], name, name),
    "training": lambda name: training.curves("a", [epoch(name, 1, 0.7, 0.4), epoch(name, 2, 0.5, 0.3)], name),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Callable[[str], Figure]:
    return partial(made, request.param)


@cache
def made(kind: str, name: str) -> Figure:
    return KINDS[kind](name)


def elements(figure: Figure) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(figure.svg).iter())


def texts(figure: Figure) -> list[str]:
    return ["".join(element.itertext()) for element in elements(figure) if element.tag.endswith("}text")]


def rows(figure: Figure, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = figure.spec["datasets"][name]
    return found


def expressions(part: Any) -> Iterator[str]:
    """Everything in a specification that Vega reads as an expression or as the path of a field."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if isinstance(value, dict | list):
            yield from expressions(value)
        elif key in EXPRESSIONS and isinstance(value, str):
            yield value


def test_a_specification_is_vega_lite(kind: Callable[[str], Figure]) -> None:
    """Filled in, it fits the schema that altair was made from, and leaves no slot open."""
    figure = kind(HOSTILE)
    alt.Chart.from_dict(dict(figure.spec))  # raises otherwise
    written = json.dumps({key: part for key, part in figure.spec.items() if key != "datasets"})
    assert '"@' not in written


def test_an_svg_may_stand_in_a_page(kind: Callable[[str], Figure]) -> None:
    """It holds shapes and text alone: nothing that runs, styles, links or loads, and no id but those of its name."""
    found = elements(kind(HOSTILE))
    tags = {element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in found}
    assert tags <= {"svg", "g", "path", "line", "rect", "circle", "text", "defs", "clipPath", "tspan"}
    attributes = {key for element in found for key in element.attrib}
    assert not [key for key in attributes if key in ("style", "class", "href") or key.startswith(("on", "{"))]
    assert all(element.attrib["id"].startswith("a-") for element in found if "id" in element.attrib)
    links = {value for element in found for value in element.attrib.values() if "url(" in value}
    assert links <= {f"url(#{element.attrib['id']})" for element in found if "id" in element.attrib}


def test_a_name_stays_text(kind: Callable[[str], Figure]) -> None:
    """A hostile name is in no expression; the drawing shows its beginning, if it shows it, and no control character."""
    figure = kind(HOSTILE)
    assert not [text for text in expressions(dict(figure.spec)) if "img" in text or "ü" in text]
    assert not re.search(r"[\x00-\x08\u202e]", figure.svg + figure.alt)
    assert "<img" not in figure.svg
    cut = [text for text in texts(figure) if "<img" in text]
    assert all(SHOWN.startswith(text[text.index("<img") :][:10]) for text in cut)
    assert all(len(text) < 120 for text in cut)


@pytest.mark.parametrize("name", ["one DET curve", "heat map", "ridges"])
def test_the_same_figure_has_the_same_bytes(name: str) -> None:
    """vl-convert counts clip paths through the life of the process; a page shows nothing of it."""
    first = KINDS[name]("det")
    KINDS["DET curves"]("other")
    assert KINDS[name]("det") == first


def test_a_name_of_a_figure_becomes_an_id() -> None:
    """Names of attributes come from files: the id is their slug, which needs no escaping anywhere."""
    figure = curves.det("EER by <b>", {"a": drawn()}, {"a": 0.1}, "t")
    assert re.fullmatch(r"eer-by-b-[0-9a-f]{8}", figure.name)
    assert f'id="{figure.name}-0"' in figure.svg


def test_a_small_svg_looks_like_that_of_vl_convert(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared, rounded and left out does not change the picture."""
    raw: list[str] = []
    real = vl_convert.vega_to_svg

    def heard(*spec: Any, **how: Any) -> str:
        raw.append(real(*spec, **how))
        return raw[-1]

    monkeypatch.setattr(vl_convert, "vega_to_svg", heard)
    for name in ("DET curves", "scatter", "heat map", "histogram"):
        figure = KINDS[name]("det")
        assert len(figure.svg) < 0.6 * len(raw[-1])
        before, after = pixels(raw[-1]), pixels(figure.svg)
        assert before.shape == after.shape and before.std() > 5
        assert np.abs(before - after).mean() < 0.7


def pixels(svg: str) -> np.ndarray:
    """A drawing on white; colours of the page, which vl-convert does not know, from their names."""
    coloured = re.sub(r"var\(--([\w-]+)\)", lambda found: f"#{hash(found[1]) % 0xC00000:06x}", svg)
    coloured = coloured.replace("<svg ", '<svg font-family="sans-serif" ', 1)
    with av.open(io.BytesIO(vl_convert.svg_to_png(coloured)), mode="r", format="png_pipe") as file:
        frame = next(file.decode(video=0)).to_ndarray(format="rgba").astype(float)
    opacity = frame[..., 3:] / 255
    return np.asarray(frame[..., :3] * opacity + 255 * (1 - opacity))


def test_a_det_curve_goes_through_its_vertices() -> None:
    """No vertex inside the axes is further from the drawn line than a pixel, and the EER stands on the diagonal."""
    curve = drawn(3, 2.0, (900, 2000))
    figure = curves.det("a", {"a": curve}, {"a": 0.16}, "t")
    told = np.array([(row["x"], row["y"]) for row in rows(figure, "points")])
    low, high = (row["x"] for row in rows(figure, "diagonal"))
    assert len(told) < len(curve.far) / 2
    for far, frr in zip(curve.far, curve.frr, strict=True):
        place = ndtri(np.clip([far, frr], 1e-9, 1 - 1e-9))
        if (place > low).all() and (place < high).all():
            away = min(distance(place, *ends) for ends in pairwise(told))
            assert away * curves.SIDE / (high - low) < 1
    (mark,) = rows(figure, "eers")
    assert mark["x"] == pytest.approx(ndtri(0.16), abs=1e-3)
    assert texts(figure)[-1] == "EER 16.00 %"


def distance(place: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Of a point from a segment."""
    way = end - start
    along = np.clip(np.dot(place - start, way) / max(np.dot(way, way), 1e-12), 0, 1)
    return float(np.linalg.norm(place - start - along * way))


def test_det_axes_are_labelled_in_percent() -> None:
    """Both axes have the same probit labels."""
    labels = texts(curves.det("a", {"a": drawn()}, {"a": 0.16}, "t"))
    ticks = [text for text in labels if re.fullmatch(r"[\d.]+", text)]
    assert ticks == 2 * ["0.1", "0.5", "1", "2", "5", "10", "20", "40"]


def test_a_det_curve_without_errors_is_its_eer_alone() -> None:
    """Where one rate is always zero there is no line, and 0 % stands in the corner."""
    figure = curves.det("a", {"a": drawn(0, 50.0)}, {"a": 0.0}, "t")
    assert rows(figure, "points") == []
    assert rows(figure, "eers")[0]["x"] == rows(figure, "diagonal")[0]["x"]
    assert "EER 0.00 %" in texts(figure)


def test_det_curves_have_a_legend_with_their_eer_first() -> None:
    """A long name is cut at its end, so its EER stands before it."""
    figure = curves.det("a", {"one": drawn(), "two": drawn(1)}, {"two": 0.03456, "one": 0.2}, "t")
    assert [text.split() for text in texts(figure)[-2:]] == [["20.00", "%", "one"], ["3.46", "%", "two"]]
    assert figure.alt == "DET curves. one: EER 20.00 %, two: EER 3.46 %."


def test_a_histogram_shows_shares_of_each_class() -> None:
    """The bins of a class sum to 100 %, whatever the size of the other, and are those of `Drawn`."""
    one = drawn(2)
    figure = distributions.histogram("a", one, {}, "t")
    bins = rows(figure, "bins")[:-1]
    assert [row["b"] for row in bins] == pytest.approx(100 * one.bonafide / 60, rel=1e-4)
    assert [row["s"] for row in bins] == pytest.approx(100 * one.spoof / 140, rel=1e-4)
    assert [row["x"] for row in bins] == pytest.approx(one.edges[:-1], rel=1e-4)


def test_a_threshold_beyond_the_axis_stands_at_the_border_and_says_so() -> None:
    """Each rule tells its label and its value."""
    one = drawn()
    figure = distributions.histogram("a", one, {"EER": 0.75, "own": 99.0}, "t")
    found = {row["k"]: row["x"] for row in rows(figure, "rules")}
    assert found == {"EER (0.75)": 0.75, "own (99, beyond the axis)": pytest.approx(one.edges[-1], rel=1e-5)}
    assert set(found) <= set(texts(figure))


def test_constant_scores_have_a_histogram() -> None:
    """All trials of a class in one bin."""
    one = draw(scored(np.ones(4), (2, 2)))
    assert max(row["b"] for row in rows(distributions.histogram("a", one, {}, "t"), "bins")) == 100


def test_ridges_stand_in_the_order_given() -> None:
    """Not in that of the alphabet, and each with the axis of its own scores."""
    figure = distributions.ridges("a", {"z": drawn(), "a": drawn(1, 900.0)}, "t")
    found = texts(figure)
    assert [text for text in found if text in "za"] == ["z", "a"]
    assert "800" in found and "1" in found


def test_a_violin_has_its_quartiles_and_leaves_nan_out() -> None:
    """Median and quartiles are those of numpy; the density is highest about the mode, and inside its row."""
    values = np.append(np.random.default_rng(1).normal(5, 1, 500), np.nan)
    figure = distributions.violin("a", {BONAFIDE: values, SPOOF: np.array([2.0])}, "t", "distance")
    first, second = rows(figure, "boxes")
    assert first["k"] == "bona fide (500)" and second["k"] == "spoofed (1)"
    quartiles = np.nanquantile(values, [0.25, 0.5, 0.75])
    assert [first["low"], first["median"], first["high"]] == pytest.approx(quartiles, rel=1e-4)
    assert second["median"] == 2
    density = [row for row in rows(figure, "densities") if row["n"] == 0]
    widest = min(density, key=lambda row: float(row["top"]))
    assert abs(widest["x"] - 5) < 0.6
    assert all(-0.31 < row["top"] <= 0 <= row["end"] < 0.31 for row in density)


def test_intervals_are_percent_in_the_order_given() -> None:
    """A row without an interval has its dot alone."""
    given_rows = [bars.Bar("z", 0.1234, 0.1, 0.2), bars.Bar("a", 0.5, None, None)]
    figure = bars.intervals("a", given_rows, "t", "EER (%)")
    assert [(row["k"], row["v"], row["low"], row["high"]) for row in rows(figure, "rows")] == [
        ("z", 12.34, 10, 20),
        ("a", 50, None, None),
    ]
    found = texts(figure)
    assert [text for text in found if text in ("z", "a", "12.34", "50.00")] == ["z", "a", "12.34", "50.00"]
    circles = [element for element in elements(figure) if element.tag.endswith("circle")]
    dots = [float(element.attrib["cx"]) for element in circles]
    assert dots[0] / dots[1] == pytest.approx(0.1234 / 0.5, rel=0.02)
    assert figure.alt == "EER (%): z 12.34; a 50.00."


def test_a_heat_map_has_its_number_in_each_square() -> None:
    """Percent with one decimal; None is an empty square; colours change in fixed steps."""
    figure = bars.heatmap("a", ["d"], ["A1", "A2", "A3"], [[0.0049, None, 0.425]], "t", "detector", "attack")
    assert [text for text in texts(figure) if "." in text] == ["0.5", "42.5"]
    painted = {element.attrib.get("fill", "") for element in elements(figure)}
    assert {"var(--heat-0)", "var(--heat-7)"} <= painted
    assert "var(--heat-3)" not in painted


def test_a_heat_map_that_would_be_too_wide_is_turned() -> None:
    """Many attacks go down the page."""
    names = [f"A{number:02d}" for number in range(40)]
    figure = bars.heatmap("a", ["x", "y"], names, [[number / 100 for number in range(40)]] * 2, "t", "det", "attack")
    assert [row["row"] for row in rows(figure, "rows")] == names
    assert rows(figure, "squares")[6] == {"r": 3, "c": 0, "v": 3.0}
    assert not figure.wide


def test_a_wide_heat_map_says_so() -> None:
    """The page then gives it a scroll bar of its own."""
    names = [f"A{number:02d}" for number in range(20)]
    assert bars.heatmap("a", names, names, [[0.1] * 20] * 20, "t", "det", "attack").wide


def test_points_of_a_class_have_its_colour() -> None:
    """Attacks have others, and where these end the rest shares one."""
    kinds = [BONAFIDE, *(f"A{number}" for number in range(20)), "A0"]
    looks = theme.looks(kinds)
    assert list(looks)[:2] == [BONAFIDE, "A0"]  # the most frequent attack
    assert looks[BONAFIDE] == theme.Look("bona fide", "var(--bonafide)")
    assert {look.label for look in looks.values()} >= {"bona fide", "A14", "5 others"}
    own = [(look.colour, look.shape) for look in looks.values() if look.colour != theme.MUTED]
    assert len(own) == len(set(own)) == 16
    assert not {"var(--series-1)", "var(--series-2)"} & {colour for colour, _ in own}  # those of the classes


def test_a_scatter_has_each_point() -> None:
    """Coordinates, kind and label are those given; twice the same label is two points."""
    figure = points.scatter("a", np.array([1.0, 2]), np.array([3.0, 4]), [BONAFIDE, SPOOF], "t", "x", "y", ["u", "u"])
    assert rows(figure, "points") == [
        {"x": 1, "y": 3, "k": "bona fide", "t": "u"},
        {"x": 2, "y": 4, "k": "spoofed", "t": "u"},
    ]
    colours = [element.attrib.get("fill") for element in elements(figure) if element.tag.endswith("circle")]
    assert "var(--spoof)" in colours


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=8))
def test_the_front_is_what_nothing_beats(found: list[tuple[int, int]]) -> None:
    """A detector is on it where none other is as fast and as good and better in one; of equals one is."""
    front = points._front([float(speed) for speed, _ in found], [float(eer) for _, eer in found])
    beaten = {
        here
        for here, (speed, eer) in enumerate(found)
        if any(s >= speed and e <= eer and (s, e) != (speed, eer) for s, e in found)
    }
    assert {found[here] for here in front} == {found[here] for here in set(range(len(found))) - beaten}
    assert len(front) == len({found[here] for here in front})


def test_a_figure_of_speed_leaves_out_what_was_not_measured() -> None:
    """A detector without EER or speed has no point; the highlighted one has its label although others beat it."""
    lines = [line("a", 0.1, 9.0), line("b", 0.2, 8.0), line("c", None, 1.0), line("d", 0.1, None)]
    figure = points.speed("a", lines, "b", "t")
    assert [(row["k"], row["y"], row["kind"]) for row in rows(figure, "points")] == [
        ("a", 10, "front"),
        ("b", 20, "chosen"),
    ]
    assert {"a", "b"} <= set(texts(figure))


def test_labels_of_speed_do_not_cover_each_other() -> None:
    """Of points on the front that lie side by side the one with the lowest EER has its label; ends have ticks."""
    lines = [line("first", 0.1, 5.0), line("second", 0.101, 5.05), line("far", 0.4, 5.9)]
    figure = points.speed("a", lines, "", "t")
    assert [(row["k"], row["side"]) for row in rows(figure, "points")] == [
        ("first", "left"),
        ("second", ""),
        ("far", "right"),
    ]
    assert points._ticks(5.1, 7.243) == [5.1, 7.24]


def test_stages_of_a_training_follow_each_other() -> None:
    """Epochs go on through stages; two looks in one epoch are half an epoch apart."""
    found = [epoch("one", 1, 2.0), epoch("one", 1, 1.5), epoch("two", 1, 0.9, 0.25), epoch("two", 2, 0.8, 0.2)]
    figure = training.curves("a", found, "t")
    assert [(row["x"], row["y"]) for row in rows(figure, "losses")] == [(0.5, 2), (1, 1.5), (2, 0.9), (3, 0.8)]
    assert [(row["x"], row["y"]) for row in rows(figure, "eers")] == [(2, 25), (3, 20)]
    assert rows(figure, "stages") == [{"x": 0, "k": "one"}, {"x": 1, "k": "two"}]


def test_a_training_without_a_dev_eer_has_one_panel() -> None:
    """Nothing is drawn of what nobody measured."""
    assert "dev EER (%)" not in texts(training.curves("a", [epoch("one", 1, 2.0)], "t"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: curves.det("a", {}, {}, "t"), "at least one curve"),
        (lambda: curves.det("a", {"a": drawn()}, {"b": 0.1}, "t"), "at most 8 curves, and an EER for each"),
        (lambda: bars.intervals("a", [], "t", "EER"), "at least one row"),
        (
            lambda: bars.intervals("a", [bars.Bar("x", 0.1)] * 2, "t", "EER"),
            "two of what a figure shows are called 'x'",
        ),
        (lambda: bars.heatmap("a", ["x"], ["y"], [[0.1, 0.2]], "t", "r", "c"), "a value for each column"),
        (lambda: distributions.violin("a", {"x": np.array([np.nan])}, "t", "d"), "the group 'x' of a figure has no"),
        (lambda: points.scatter("a", np.ones(1), np.ones(2), ["x"], "t", "x", "y", ["l"]), "x, y, kind and label"),
        (lambda: points.speed("a", [line("a", None, 1.0)], "", "t"), "a detector with an EER and a speed"),
        (lambda: training.curves("a", [], "t"), "a point of its curve"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make: Callable[[], Figure], said: str) -> None:
    """Nothing to draw, labels that are not unique and lengths that do not fit are usage errors."""
    with pytest.raises(UsageError, match=re.escape(said)):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bars.intervals("a", [bars.Bar("x", float("nan"))], "t", "EER"), "the value of 'x' of a figure"),
        (lambda: bars.heatmap("a", ["x"], ["y"], [[float("inf")]], "t", "r", "c"), "the value of 'x', 'y' of a figure"),
        (lambda: distributions.violin("a", {"x": np.array([np.inf, 1])}, "t", "d"), "d of a figure is not"),
        (lambda: points.scatter("a", np.array([np.nan]), np.ones(1), ["x"], "t", "X", "y", ["l"]), "X of a figure"),
        (
            lambda: curves.det("a", {"a": drawn()}, {"a": float("nan")}, "t"),
            "an EER of a figure is not a finite number",
        ),
    ],
)
def test_a_number_that_is_none_is_refused(make: Callable[[], Figure], said: str) -> None:
    """NaN and infinity are never drawn."""
    with pytest.raises(DataError, match=re.escape(said)):
        make()


@pytest.mark.parametrize("unit", [5e-324, 1e-310, 1e-290, 1e290, 1e307])
def test_scores_at_the_ends_of_what_floats_can_hold(unit: float) -> None:
    """Every trial is counted, and vega draws the axis; it cannot count the ticks of subnormal numbers."""
    found = draw(scored(np.concatenate(gaussian(0)) * unit, (60, 140)))
    assert (found.bonafide.sum(), found.spoof.sum()) == (60, 140)
    for figure in (
        distributions.histogram("a", found, {"EER": unit}, "t"),
        distributions.ridges("a", {"d": found}, "t"),
        points.scatter(
            "a", np.array([0.0, unit, 2 * unit]), np.arange(3.0), [BONAFIDE] * 3, "t", "x", "y", list("abc")
        ),
    ):
        assert "<text" in figure.svg, figure.alt
        assert "NaN" not in figure.svg


def test_wide_letters_shorten_a_label_sooner() -> None:
    """A letter of Chinese has the room of two."""
    assert theme.shortened("abcdef", 6) == "abcdef"
    assert theme.shortened("abcdefg", 6) == "abcde…"
    assert theme.shortened("話話話話", 6) == "話話…"


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_are_readable_on_every_step_of_a_heat_map(dark: bool) -> None:
    """Contrast of text and square is at least 4.5 (WCAG 2.2, AA) in both themes."""
    sheet = (shipped("reports") / "static" / "style.css").read_text(encoding="utf-8")
    # The dark value of a token is the one that comes last, the light one the one that comes first.
    pick = -1 if dark else 0
    colour = {name: found[pick] for name in tokens(sheet) if (found := re.findall(rf"--{name}: #(\w{{6}});", sheet))}
    for step in range(len(bars.STEPS) + 1):
        lighter, darker = sorted((luminance(colour[name]) for name in ("text", f"heat-{step}")), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, step


def tokens(sheet: str) -> set[str]:
    return set(re.findall(r"--([\w-]+):", sheet))


def luminance(colour: str) -> float:
    """Of #rrggbb, as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_of_a_figure_is_a_token_of_the_style_sheet(kind: Callable[[str], Figure]) -> None:
    """A figure has no colour of its own, so it follows the page into the dark."""
    figure = kind(HOSTILE)
    sheet = (shipped("reports") / "static" / "style.css").read_text(encoding="utf-8")
    assert set(re.findall(r"var\(--([\w-]+)\)", figure.svg)) <= tokens(sheet)
    paints = {element.attrib.get(key) for element in elements(figure) for key in ("fill", "stroke")}
    assert {paint for paint in paints if paint and not paint.startswith("var(")} <= {"none", "transparent"}


def test_the_script_of_figures_and_its_libraries_are_files_of_the_site() -> None:
    """Classic scripts, with what the interpreter of expressions needs, and with the notice of their licences."""
    files = bundle.files()
    assert set(files) == {"assets/figures.js", "assets/vega.js"}
    libraries = files["assets/vega.js"].decode()
    assert libraries.startswith("/*! Vega") and "BSD-3-Clause" in libraries[:400]
    assert "window.vegaEmbed" in libraries and not re.search(r"^\s*(import|export)\b", libraries, re.MULTILINE)
    assert '"vega.js"' in files["assets/figures.js"].decode()
