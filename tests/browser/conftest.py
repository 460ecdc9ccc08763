"""A real browser for the tests of the site: Chromium, driven by playwright.

Without it, or without axe-core, these tests skip and say how to get both; BENCH_BROWSER=required makes that a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESKTOP = (390, 844), (1440, 900)

Visit: TypeAlias = Callable[..., Page]


def _absent(what: str, remedy: str) -> None:
    told = f"no {what}: {remedy}"
    if os.environ.get("BENCH_BROWSER") == "required":
        pytest.fail(told)
    pytest.skip(told)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        _absent("Chromium", "install Debian's `chromium`")
    with sync_playwright() as playwright:
        # Chromium's sandbox needs user namespaces, which containers often lack; only pages made here are opened.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    if not AXE.is_file():
        _absent("axe-core", "`make axe` gets it, with npm")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a page of a site; in the end no page may have had an error or asked anything of another place."""
    opened: list[tuple[str, Page]] = []
    errors: list[str] = []
    requests: list[str] = []

    def visit(page: Path | str, size: tuple[int, int] = DESKTOP, dark: bool = False, script: bool = True) -> Page:
        address = page.resolve().as_uri() if isinstance(page, Path) else page
        tab = browser.new_page(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )
        tab.on("console", lambda told: errors.append(f"{told.type}: {told.text}") if told.type != "log" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("requestfailed", lambda request: errors.append(f"failed: {request.url} {request.failure}"))
        tab.on("request", lambda request: requests.append(request.url))
        opened.append((address, tab))
        tab.goto(address)
        return tab

    yield visit
    for _, tab in opened:
        tab.close()
    origins = {urlsplit(address)[:2] for address, _ in opened}
    assert errors == []
    assert [url for url in requests if urlsplit(url).scheme != "data" and urlsplit(url)[:2] not in origins] == []


@pytest.fixture(scope="session")
def demo_site(demo_run: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """What `bench demo` writes: one dataset, with audio."""
    return demo_run[0] / "site"


def serious(page: Page, axe: str) -> list[dict[str, Any]]:
    """What axe-core calls serious or critical, with the elements."""
    page.evaluate(f"{axe}; 0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")["violations"]
    return [
        {"rule": one["id"], "at": [node["target"] for node in one["nodes"]][:3]}
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
