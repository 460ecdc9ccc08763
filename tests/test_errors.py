"""What a user reads when something is wrong, and what a program that starts the harness gets."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bench import errors
from bench.errors import BenchError, CardError, UsageError, unknown

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BenchError)]


def test_the_text_says_what_where_and_what_to_do() -> None:
    """One line each: what is wrong, the file with its line, the remedy; what is not known has no line."""
    full = BenchError("it broke", where=Path("a/b.yaml"), line=3, remedy="mend it")
    assert str(full) == "it broke\n  where: a/b.yaml, line 3\n  remedy: mend it"
    assert str(BenchError("it broke", where="a.wav")) == "it broke\n  where: a.wav"
    assert str(BenchError("it broke")) == "it broke"


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_the_way_out_of_a_worker_process(cls: type[BenchError]) -> None:
    """A pickled error comes back with its class, its text and its exit code."""
    error = cls("ü <b>%s", where="x.flac", line=7, remedy="again")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.exit_code) == (cls, str(error), cls.exit_code)
    assert (back.what, back.where, back.remedy) == (error.what, "x.flac, line 7", "again")


def test_wrong_usage_is_told_from_failure_by_the_exit_code() -> None:
    """Names, options and cards that cannot be meant end with 2, everything else with 1."""
    assert {cls.__name__ for cls in CLASSES if cls.exit_code == 2} == {"UsageError", "CardError"}
    assert {cls.exit_code for cls in CLASSES} == {1, 2}


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    """Every class is drawn at the top of the module, once, below the class it derives from."""
    parents: dict[int, str] = {}
    drawn = {}
    for line in (errors.__doc__ or "").splitlines()[2:]:
        name = line.lstrip("│├└─ ").split(" ")[0]
        depth = line.index(name) // 4
        parents[depth] = name
        drawn[name] = parents.get(depth - 1)
    assert drawn == {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES} | {"BenchError": None}


def test_an_unknown_name_comes_with_the_nearest_ones() -> None:
    """The remedy asks whether a near name was meant, whatever its case, and lists the known ones in order."""
    error = unknown("detector", "AASISTL", ["random", "aasist-l", "aasist"])
    assert isinstance(error, UsageError)
    assert error.what == "no detector is called 'AASISTL'"
    assert error.remedy == "did you mean aasist-l, aasist? known: aasist, aasist-l, random"
    assert unknown("detector", "zzz", ["random"]).remedy == "known: random"


def test_a_long_list_of_names_is_cut() -> None:
    """Twenty names and their number; a hundred detectors would hide the message."""
    remedy = unknown("dataset", "q", [f"d{i:03}" for i in range(100)]).remedy
    assert remedy is not None and remedy.endswith("d018, d019, … (100 in all)") and "d020" not in remedy


def test_a_card_error_is_wrong_usage() -> None:
    """Whoever catches wrong usage catches wrong cards."""
    assert issubclass(CardError, UsageError)
