"""The site in a real browser, read from the file system: what it does, what it asks for, and whom it shuts out."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from bench.report import places
from tests.browser.conftest import DESKTOP, PHONE, Visit, serious
from tests.hostile import NAMES

DEMO_CELL = places.cell("demo", "lfcc-gmm-demo")
PAGES = (
    places.FRONT,
    places.METHODS,
    places.dataset("demo"),
    places.comparison("demo"),
    places.detector("lfcc-gmm-demo"),
    DEMO_CELL,
)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def detectors(page: Page) -> list[str]:
    """The rows of the leaderboard that are shown, from the top."""
    shown = page.locator("#leaderboard tbody tr:not([hidden]) th a")
    return [text.strip() for text in shown.all_text_contents()]


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


@pytest.mark.parametrize("path", PAGES)
def test_pages_fit_a_phone_and_a_desk_and_shut_nobody_out(path: str, demo_site: Path, visit: Visit, axe: str) -> None:
    """No page overflows at 390 and 1440 px; axe finds nothing serious, contrast included, in light and in dark."""
    for size, dark in ((PHONE, True), (DESKTOP, False)):
        page = visit(demo_site / path, size, dark)
        assert page.evaluate(OVERFLOW) == 0
        assert serious(page, axe) == []


def test_hostile_names_are_text(hostile_site: Path, visit: Visit) -> None:
    """No name of a detector, attack, speaker or file becomes an element, runs, or breaks the width of a phone."""
    found = sorted(hostile_site.rglob("*.html"))
    assert len(found) > 15
    seen = set()
    page = visit(found[0], PHONE)
    for path in found:
        page.goto(path.as_uri())
        assert (
            page.locator("main b, main i, main [onerror], img[src=x], script:not([src]):not([type])").evaluate_all(
                "all => all.filter(one => /^(<|&)/.test(one.textContent) || one.hasAttribute('onerror')).length"
            )
            == 0
        ), path
        assert page.evaluate(OVERFLOW) == 0, path
        text = page.locator("main").text_content() or ""
        seen |= {name for name in NAMES if name in text}
    assert seen == set(NAMES)


def test_sorting_by_mouse_and_by_keyboard(demo_site: Path, visit: Visit) -> None:
    """A click on a header sorts, another one reverses; Enter on the focused header does the same, told by aria-sort."""
    page = visit(demo_site / places.FRONT)
    first = detectors(page)
    button = page.get_by_role("button", name="Sort by Detector")
    button.click()
    by_name = detectors(page)
    assert by_name == sorted(first, key=str.casefold) != first
    assert page.locator("th[data-column=detector]").get_attribute("aria-sort") == "ascending"
    button.focus()
    page.keyboard.press("Enter")
    assert detectors(page) == by_name[::-1]
    assert page.locator("th[data-column=detector]").get_attribute("aria-sort") == "descending"


def test_filters_and_metric_are_kept_in_the_address(demo_site: Path, visit: Visit) -> None:
    """Family, search, metric and order stand in the URL, which shows the same to who opens it; Reset clears it."""
    page = visit(demo_site / places.FRONT)
    everything = detectors(page)
    page.get_by_label("Family").select_option("shortcut probe")
    page.get_by_label("Metric").select_option("auc")
    page.get_by_role("button", name="Sort by demo", exact=True).click()
    probes = detectors(page)
    assert 0 < len(probes) < len(everything)
    assert query(page)["metric"] == ["auc"]
    assert "3 of 6 detectors" in page.get_by_role("status").inner_text()
    page.get_by_label("Find").fill("silence")
    assert detectors(page) == ["Silence probe"]
    again = visit(page.url)
    assert detectors(again) == ["Silence probe"]
    assert again.get_by_label("Metric").input_value() == "auc"
    assert again.locator("#leaderboard").inner_text() == page.locator("#leaderboard").inner_text()
    again.get_by_role("button", name="Reset").click()
    expect(again.locator("#leaderboard tbody tr:not([hidden])")).to_have_count(len(everything))
    assert detectors(again) == everything
    assert query(again) == {}


def test_header_and_first_column_stay(hostile_site: Path, visit: Visit) -> None:
    """While the table scrolls in its own region, both stay where they are."""
    page = visit(hostile_site / places.FRONT, (390, 500))
    region = page.locator(".leaderboard")
    corner = region.locator("thead th").first
    region.evaluate("one => one.scrollBy(50, 150)")  # the caption scrolls away, the header does not
    before = corner.bounding_box()
    region.evaluate("one => one.scrollBy(150, 80)")
    assert region.evaluate("one => [one.scrollLeft, one.scrollTop]") == [200, 230]
    assert corner.bounding_box() == before


def test_the_front_page_is_light_and_soon_there(demo_site: Path, visit: Visit) -> None:
    """It asks for its style and two scripts, not for the bundle of the figures, and answers within two seconds."""
    page = visit(demo_site / places.FRONT)
    files = page.locator("script[src], link[rel=stylesheet]").evaluate_all("all => all.map(one => one.src || one.href)")
    assert sorted(name.rpartition("/")[2] for name in files) == ["leaderboard.js", "state.js", "style.css"]
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 2000


def test_audio_of_the_worst_errors_plays(demo_site: Path, visit: Visit) -> None:
    """Every player of a cell has sound of some length, and the first one runs."""
    page = visit(demo_site / DEMO_CELL)
    players = page.locator("audio")
    assert players.count() > 3
    for player in players.all():
        player.evaluate(
            "one => new Promise((done, failed) => {one.onloadedmetadata = done; one.onerror = failed; one.load()})"
        )
        assert player.evaluate("one => one.duration") > 0.5
    moved = players.first.evaluate(
        "one => {one.muted = true; return one.play().then(() => new Promise(done => {one.ontimeupdate = () => "
        "one.currentTime > 0 && done(one.currentTime)}))}"
    )
    assert moved > 0


def test_a_figure_answers_the_pointer(demo_site: Path, visit: Visit) -> None:
    """Under the strict policy the script bundle is loaded when it is wanted, and the figure tells its numbers."""
    page = visit(demo_site / DEMO_CELL)
    figure = page.locator("figure.figure").first
    figure.scroll_into_view_if_needed()
    size = figure.bounding_box()
    assert page.locator("script[src$='vega.js']").count() == 0
    figure.hover()
    page.wait_for_selector("figure.figure svg.marks, figure.figure .vega-embed")
    page.wait_for_selector("script[src$='vega.js']", state="attached")
    assert figure.bounding_box() == size


def test_two_detectors_are_compared_by_choice(demo_site: Path, visit: Visit) -> None:
    """The chosen pair is in the URL, which shows the same again, and its difference is that of the table of all."""
    path = demo_site / places.comparison("demo")
    page = visit(path)
    before = page.locator("[data-told=difference]").inner_text()
    page.get_by_label("First detector").select_option("1")
    page.get_by_label("Second detector").select_option("5")
    told = page.locator("[data-told=difference]").inner_text()
    rows = json.loads((path.parent / "differences.json").read_text())["rows"]
    (row,) = (one for one in rows if (one["first"], one["second"]) == ("probe-silence", "random"))
    assert f"{100 * row['difference']:+.2f} pp" in told != before
    assert query(page) == {"a": ["probe-silence"], "b": ["random"]}
    page.wait_for_selector(".drawing .vega-embed, .drawing svg.marks")
    again = visit(page.url)
    assert again.locator("[data-told=difference]").inner_text() == told


def test_everything_is_readable_without_script(demo_site: Path, browser: Browser, visit: Visit) -> None:
    """Without JavaScript the numbers and the figures are there, and no control that would do nothing."""
    front = visit(demo_site / places.FRONT, script=False)
    assert front.locator("#controls").is_hidden()
    assert front.locator("#leaderboard tbody tr").count() == 6
    cell = visit(demo_site / DEMO_CELL, script=False)
    assert cell.locator("figure.figure svg").count() >= 2
    assert cell.locator("figure.figure svg").first.is_visible()
