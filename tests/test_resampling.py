"""What is drawn, and how often each trial counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import resampling
from bench.resampling import Resampling


def trials(speakers: list[str], attacks: list[str]) -> pd.DataFrame:
    """A trial list; an attack of '' is a bona fide trial, `?` a spoof whose attack is not known."""
    labels = ["spoof" if attack else "bonafide" for attack in attacks]
    known = ["" if attack == "?" else attack for attack in attacks]
    return pd.DataFrame({"label": labels, "speaker": speakers, "attack": known})


def crossed(speakers: int, attacks: int) -> pd.DataFrame:
    """Every speaker with one bona fide trial and one of every attack."""
    each = ["", *(f"A{number}" for number in range(attacks))]
    names = [f"S{number}" for number in range(speakers)]
    return trials([name for name in names for _ in each], each * speakers)


def weights(draws: Resampling) -> tuple[np.ndarray, np.ndarray]:
    """Of all replicates, (replicates, trials), of the bona fide and of the spoofed trials."""
    sides = (draws.bonafide, draws.spoof)
    bonafide, spoof = (np.concatenate([draws.weights(side, batch) for batch in draws.batches]) for side in sides)
    return bonafide, spoof


def test_a_trial_counts_draws_of_its_speaker_times_draws_of_its_attack() -> None:
    """There are draws of speakers and of attacks, as many as there are, whose products are the weights."""
    table = crossed(7, 6)
    draws = Resampling(table, 50)
    bonafide, spoof = weights(draws)
    assert (bonafide.sum(axis=1) == 7).all()  # one bona fide trial a speaker: its weight is the speaker's draws
    by_pair = spoof.reshape(50, 7, 6)
    for speakers, pairs in zip(bonafide, by_pair, strict=True):
        attacks = pairs[speakers.argmax()] // speakers.max()
        assert attacks.sum() == 6
        assert (pairs == np.outer(speakers, attacks)).all()


@pytest.mark.parametrize(
    ("table", "told", "warnings"),
    [
        (crossed(30, 20), "speaker x attack (30 speakers, 20 attacks)", []),
        (
            crossed(6, 4),
            "speaker (6 speakers)",
            [
                "4 attacks are too few to be drawn: the interval says nothing of other attacks",
                "only 6 speakers: the interval holds the truth less often than it says",
            ],
        ),
        (
            trials([""] * 60, [""] * 30 + [f"A{number}" for number in range(30)]),
            "single trials (bona fide), attack (spoof) (30 attacks)",
            ["bona fide trials are drawn one by one, as if independent: too narrow"],
        ),
        (
            trials(["unknown"] * 4, ["", "", "?", "?"]),
            "single trials",
            [
                "bona fide and spoofed trials are drawn one by one, as if independent: too narrow",
            ],
        ),
        (
            trials([f"S{number}" for number in range(25)] + [""] * 5, [""] * 25 + ["?"] * 5),
            "speaker (bona fide), single trials (spoof) (25 speakers)",
            ["spoofed trials are drawn one by one, as if independent: too narrow"],
        ),
        (
            trials([f"S{number % 25}" for number in range(50)], [""] * 25 + ["A1"] * 24 + ["?"]),
            "speaker (25 speakers)",
            [],
        ),
    ],
)
def test_the_unit_is_what_all_trials_of_a_class_name(table: pd.DataFrame, told: str, warnings: list[str]) -> None:
    """Factors that a class does not name throughout, or that have few values, are not drawn, and that is said."""
    unit = Resampling(table, 2).unit
    assert (unit.text, unit.warnings) == (told, warnings)


def test_single_trials_are_drawn_as_many_as_there_are_in_each_class() -> None:
    """Without speakers and attacks every replicate has the list's number of trials of each class, drawn apart."""
    draws = Resampling(trials([""] * 40, [""] * 20 + ["?"] * 20), 100)
    bonafide, spoof = weights(draws)
    assert (bonafide.sum(axis=1) == 20).all()
    assert (spoof.sum(axis=1) == 20).all()
    assert (bonafide != spoof).any()
    # Of a multinomial the variance of one count is 1 - 1/n; 4,000 counts tell it to a few per cent.
    assert bonafide.var() == pytest.approx(1 - 1 / 20, rel=0.15)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 5), named=st.booleans())
def test_draws_follow_from_list_and_seed_alone(seed: int, named: bool) -> None:
    """The same list and seed give the same weights, another seed gives others."""
    table = crossed(6, 5) if named else trials([""] * 9, [""] * 4 + ["?"] * 5)
    first, again, other = (weights(Resampling(table, 60, number)) for number in (seed, seed, seed + 1))
    for side in (0, 1):
        assert (first[side] == again[side]).all()
        assert (first[side] != other[side]).any()


@pytest.mark.parametrize("room", [1, 100, 1000])
def test_draws_of_clusters_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """However many replicates are weighed at once, down to one."""
    whole = weights(Resampling(crossed(6, 5), 60))
    monkeypatch.setattr(resampling, "ROOM", room)
    draws = Resampling(crossed(6, 5), 60)
    assert len(draws.batches) == {1: 60, 100: 30, 1000: 3}[room]
    assert all((part == same).all() for part, same in zip(weights(draws), whole, strict=True))


def test_no_draw_leaves_a_class_without_trials() -> None:
    """Draws without the one speaker who has bona fide trials are drawn again."""
    table = trials(["S0", *(f"S{number}" for number in range(6))], ["", *(["?"] * 6)])
    draws = Resampling(table, 500)
    assert draws.unit.text == "speaker (6 speakers)"
    assert weights(draws)[0].min() >= 1


def test_another_order_of_the_trials_takes_their_weights_along() -> None:
    """`Side.ordered` permutes weights, whatever is drawn."""
    for table in (crossed(5, 5), trials([""] * 12, [""] * 6 + ["?"] * 6)):
        draws = Resampling(table, 3)
        order = np.random.default_rng(0).permutation(draws.spoof.size)
        assert (draws.weights(draws.spoof.ordered(order), 0) == draws.weights(draws.spoof, 0)[:, order]).all()
