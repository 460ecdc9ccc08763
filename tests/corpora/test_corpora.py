"""bench.corpora: loading a card, cards for a user's own data, and the dataset cards that ship."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from bench import corpora
from bench.cards import DatasetCard
from bench.corpora.files import reader
from bench.errors import Blocked, CardError, DataError, UsageError
from bench.registry import datasets
from tests.corpora.conftest import Lay

SHIPPED = [f"asvspoof2019-la{part}" for part in ("", "-train", "-dev")]
SHIPPED += [f"asvspoof2021-{track}{part}" for track in ("la", "df") for part in ("", "-progress", "-hidden", "-all")]
SHIPPED += ["itw", "mlaad-en", "mlaad-en-v5"]


@reader()
def own_reader(root: Path, *, labels: list[str]) -> pd.DataFrame:
    """A user's own reader, which validates nothing."""
    return pd.DataFrame({"trial": [f"t{n}" for n in range(len(labels))], "label": labels, "speaker": "anna"})


def card(**fields: object) -> DatasetCard:
    known = {"name": "x", "title": "x", "summary": "x", "licence": "x", "obtain": "ask Anna"}
    reader = {
        "reader": "tests.corpora.test_corpora:own_reader",
        "arguments": {"labels": ["spoof", "bonafide", "spoof"]},
    }
    return DatasetCard.model_validate(known | reader | fields)


def test_a_dataset_is_what_the_reader_returns_validated() -> None:
    """The table gets all columns and the digest of its trials and labels."""
    dataset = corpora.load(card(), Path())
    lines = b"t0\tspoof\nt1\tbonafide\nt2\tspoof\n"
    assert dataset.digest == hashlib.sha256(lines).hexdigest()
    assert tuple(dataset.trials) == ("trial", "path", "label", "speaker", "attack")
    assert dataset.name == "x"
    assert dataset.warnings == ()


def test_what_a_reader_may_not_return_is_refused() -> None:
    """Readers of the user's own are held to the same promises."""
    with pytest.raises(DataError, match="label 'real' was not parsed"):
        corpora.load(card(arguments={"labels": ["real"]}), Path())


@pytest.mark.parametrize("arguments", [{}, {"labels": ["spoof"], "phase": "eval"}])
def test_arguments_the_reader_does_not_take_are_an_error_of_the_card(arguments: dict[str, object]) -> None:
    """Missing and unknown arguments are told before anything is read."""
    with pytest.raises(CardError, match=r"does not take these `arguments`: .*\n  where: x\n  remedy: correct the card"):
        corpora.load(card(arguments=arguments), Path())


def test_a_reader_that_does_not_exist_is_an_error_of_the_card() -> None:
    """The card names it."""
    with pytest.raises(CardError, match=r"bench\.corpora\.nowhere:read cannot be loaded"):
        corpora.load(card(reader="bench.corpora.nowhere:read"), Path())


def test_counts_that_differ_are_a_warning() -> None:
    """The user's file is what is scored; every number that differs from the published list is told, none fails."""
    counts = {"trials": 1, "bonafide": 2, "spoof": 1000, "speakers": 1, "attacks": 13}
    (warning,) = corpora.load(card(counts=counts), Path()).warnings
    assert warning == (
        "x is not the published list: "
        "trials 3 (published 1), bonafide 1 (published 2), spoof 2 (published 1,000), attacks 0 (published 13)"
    )
    assert corpora.load(card(counts={"trials": 3, "bonafide": 1, "spoof": 2}), Path()).warnings == ()


def test_a_blocked_dataset_says_where_to_get_it(tmp_path: Path) -> None:
    """The card's `obtain` and the reader's place are the remedy."""
    missing = card(reader="bench.corpora.protocol_csv:read", arguments={"file": "list.csv"})
    with pytest.raises(Blocked) as caught:
        corpora.load(missing, tmp_path)
    assert caught.value.where == f"searched\n    {tmp_path / 'list.csv'}"
    assert caught.value.remedy == f"ask Anna; it belongs at {tmp_path / 'list.csv'}"


@pytest.mark.parametrize(("name", "message"), [("nowhere.csv", "no such place"), ("audio.wav", "is no list of trials")])
def test_own_data_must_be_a_list_or_a_folder(name: str, message: str, lay: Lay) -> None:
    """Anything else is a wrong use of `--data`."""
    root = lay({"audio.wav": ""})
    with pytest.raises(UsageError, match=rf"{message}\n  where: {root / name}\n  remedy: give a list"):
        corpora.own_card("mine", root / name)


@pytest.mark.parametrize("name", ["my data", "a,b", "a*", ""])
def test_own_data_must_have_a_usable_name(name: str, tmp_path: Path) -> None:
    """Names are separated by commas and matched by globs on the command line."""
    with pytest.raises(CardError, match="cannot be the name of a dataset"):
        corpora.own_card(name, tmp_path)


def test_own_data_is_found_again_from_another_working_folder(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card holds the absolute place."""
    root = lay({"real/a.wav": ""})
    monkeypatch.chdir(root)
    assert corpora.own_card("mine", Path()).arguments == {"folder": str(root)}


def test_missing_audio_gives_row_numbers(lay: Lay) -> None:
    """Rows whose file is absent, by position whatever the index."""
    root = lay({"a.wav": ""})
    table = pd.DataFrame({"path": [f"{root}/b.wav", f"{root}/a.wav", f"{root}/c/a.wav"]}, index=[7, 8, 9])
    assert corpora.missing_audio(table) == [0, 2]


def test_the_fingerprint_tells_pieces_apart(lay: Lay) -> None:
    """The same id and the same file may stand for another piece; lists without pieces have the files' alone."""
    path = f"{lay({'a.wav': 'x'})}/a.wav"
    table = pd.DataFrame({"trial": ["t"], "path": [path], "label": ["spoof"]})
    stat = Path(path).stat()
    assert corpora.fingerprint(table) == hashlib.sha256(f"{path}\t1\t{stat.st_mtime_ns}\n".encode()).hexdigest()
    pieces = [("", "4"), ("4", ""), ("4", "8"), ("", "")]
    tables = [table.assign(start=start, stop=stop) for start, stop in pieces] + [table]
    assert len({corpora.fingerprint(found) for found in tables}) == len(tables)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_adds_up(name: str) -> None:
    """Its counts sum, its reader takes its arguments, and it is listed unless it is another's sibling."""
    shipped = datasets()[name]
    if shipped.counts:
        assert shipped.counts.trials == shipped.counts.bonafide + shipped.counts.spoof
    assert shipped.listed == (shipped.sibling_of is None)
    assert shipped.sibling_of is None or datasets()[shipped.sibling_of].listed
    with pytest.raises(Blocked):
        corpora.load(shipped, Path("/nowhere"))


@pytest.mark.parametrize("track", ["la", "df"])
def test_the_phases_of_2021_are_all_of_it(track: str) -> None:
    """The published counts of the three phases sum to those of all."""
    counts = [datasets()[f"asvspoof2021-{track}{part}"].counts for part in ("", "-progress", "-hidden", "-all")]
    *phases, whole = [(c.trials, c.bonafide, c.spoof) for c in counts if c is not None]
    assert tuple(map(sum, zip(*phases, strict=True))) == whole
