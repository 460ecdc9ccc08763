"""`bench report`: its options, what it prints, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from bench.cli import main
from bench.report import build, serve
from bench.report.audible import Recordings
from bench.report.build import Written
from bench.report.site import Site
from bench.store import Store

WORKFLOWS = Path(__file__).parents[1] / ".github" / "workflows"


def report(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


@pytest.fixture
def asked(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `bench.report.write` is asked for; nothing is built."""
    calls: list[dict[str, Any]] = []

    def write(store: Store, out: Path, *, display: object, **asked: Any) -> Written:
        calls.append({"results": store.root, "out": out, **asked})
        return Written(out / "index.html", 12, 300)

    monkeypatch.setattr(build, "write", write)
    (elsewhere / "results").mkdir()
    return calls


def test_plain(asked: list[dict[str, Any]]) -> None:
    """Without options: results/ into site/, with the audio that may be published; one line says what was done."""
    told = report()
    assert told.exit_code == 0, told.output
    line = told.stdout.strip()
    assert line.startswith("wrote site/index.html (312 pages: 12 made, 300 as before) in ")
    assert line.endswith(" s")
    assert asked == [{"results": Path("results"), "out": Path("site"), "site": Site(), "recordings": Recordings()}]


def test_options(asked: list[dict[str, Any]], elsewhere: Path) -> None:
    """An address gets its slash; --data names places; --no-audio looks at no corpus."""
    (elsewhere / "cards").mkdir()
    report("--out", "o", "--base-url", "https://example.org/a", "--scores", "--data", "itw=x", "--cards", "cards")
    report("--no-audio")
    assert asked[0]["site"] == Site("https://example.org/a/", scores=True)
    assert asked[0]["recordings"] == Recordings(data={"itw": Path("x")}, cards=Path("cards"))
    assert asked[1]["recordings"] is None


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--base-url", "ftp://example.org"), "'ftp://example.org' is no address of a site"),
        (("--base-url", "example.org"), "give one such as https://example.org/leaderboard"),
        (("--base-url", "https://"), "is no address"),
        (("--base-url", "https://me:pw@example.org"), "is no address"),
        (("--base-url", "https://example.org/?a"), "is no address"),
        (("--base-url", "https://[x"), "is no address"),
        (("--base-url", ""), "is no address"),
        (("--base-url", 'https://a/"><script>'), "is no address"),
        (("--port", "1"), "--port is of --serve"),
        (("--data", "itw"), "'itw' is not NAME=PATH"),
        (("--results", "none"), "there are no results here"),
    ],
)
def test_usage(asked: list[dict[str, Any]], arguments: tuple[str, ...], why: str) -> None:
    """What cannot be meant is exit 2, says why, and writes nothing."""
    told = report(*arguments)
    assert told.exit_code == 2
    assert why in told.stderr
    assert not asked


def test_somebody_elses_folder(elsewhere: Path) -> None:
    """A folder that holds something else is refused and left as it is, before anything is measured."""
    (elsewhere / "results").mkdir()
    (elsewhere / "site").mkdir()
    (elsewhere / "site" / "index.html").write_text("mine")
    told = report()
    assert (told.exit_code, told.stdout) == (2, "")
    assert "no site of `bench report`: index.html" in told.stderr
    assert [place.name for place in (elsewhere / "site").iterdir()] == ["index.html"]


def test_interrupted(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 130, and what that leaves."""

    def write(*_: object, **__: object) -> Written:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "write", write)
    told = report()
    assert told.exit_code == 130
    assert "interrupted; every page is whole, the same command makes the rest" in told.stderr


def test_serve(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given the store, the build, and the port; Ctrl-C there is exit status 0."""
    ports = []

    def serving(store: Store, again: Any, port: int | None, told: Any) -> None:
        ports.append((store.root, port))
        assert again().made == 12
        told("[red]serving")

    monkeypatch.setattr(serve, "serve", serving)
    assert "[red]serving" in report("--serve").stdout
    assert report("--serve", "--port", "8123").exit_code == 0
    assert ports == [(Path("results"), None), (Path("results"), 8123)]


def test_the_workflow_for_pages() -> None:
    """It is YAML that builds with an address and publishes what was built, with no more rights than that takes."""
    text = (WORKFLOWS / "leaderboard-pages.yml").read_text()
    workflow = yaml.safe_load(text)
    building, deploying = workflow["jobs"]["build"], workflow["jobs"]["deploy"]
    assert workflow["permissions"] == {"contents": "read"}
    assert deploying["permissions"] == {"pages": "write", "id-token": "write"}
    assert (workflow["concurrency"]["group"], deploying["needs"]) == ("pages", "build")
    steps = building["steps"]
    (made,) = [step["run"].split() for step in steps if "bench report" in step.get("run", "")]
    (published,) = [step["with"]["path"] for step in steps if "upload-pages-artifact" in step.get("uses", "")]
    assert made[made.index("--out") + 1] == published
    (command,) = [one for one in main.commands.values() if one.name == "report"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in made if word.startswith("--")} <= known
    assert deploying["steps"][0]["uses"].startswith("actions/deploy-pages@")
    assert text.count("YOURS") > 4
