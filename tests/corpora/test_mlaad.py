"""bench.corpora.mlaad: spoof folders, the bona fide rules, and what is refused."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import corpora
from bench.errors import Blocked, DataError, UsageError
from bench.registry import datasets
from bench.workspace import Options, Workspace
from tests.corpora.conftest import Lay

HEADER = "path|original_file|language|is_original_language|duration|training_data|model_name|architecture|transcript\n"
BOOK = "en_US/by_book/female/judy_bieber/book/wavs"
ORIGINALS = [f"{BOOK}/u_{n}.wav" for n in range(5)]


def row(model: str, clip: str, original: str, text: str = 'He said "no') -> str:
    return f"./fake/en/{model}/{clip}.wav|{original}|en|True|3.2|ljspeech|{model} v1|VITS|{text}\n"


def tree(**models: list[tuple[str, str]]) -> dict[str, str | bytes]:
    """Model folders with a meta.csv and a file for each (clip, original), and all five originals."""
    files: dict[str, str | bytes] = {f"mailabs/{original}": "" for original in ORIGINALS}
    for model, rows in models.items():
        files[f"mlaad/fake/en/{model}/meta.csv"] = HEADER + "".join(row(model, *clip) for clip in rows)
        files |= {f"mlaad/fake/en/{model}/{clip}.wav": "" for clip, _ in rows}
    return files


TWO = {"vits": [("a", ORIGINALS[0]), ("b", ORIGINALS[1])], "bark": [("a", ORIGINALS[1]), ("c", ORIGINALS[3])]}


def load(root: Path, name: str = "mlaad-en", **arguments: Any) -> corpora.Dataset:
    card = datasets()[name]
    return corpora.load(card.model_copy(update={"arguments": card.arguments | arguments}), root)


def trials(root: Path, label: str, **arguments: Any) -> list[str]:
    table = load(root, **arguments).trials
    return table.loc[table["label"] == label, "trial"].tolist()


def test_matched_pairs_every_spoof_with_the_distinct_originals(lay: Lay) -> None:
    """Spoof ids are model and file, bona fide ids the path below M-AILABS, each original once."""
    root = lay(tree(**TWO))
    table = load(root).trials.set_index("trial")
    assert set(table.index[table["label"] == "spoof"]) == {"vits/a", "vits/b", "bark/a", "bark/c"}
    assert set(table.index[table["label"] == "bonafide"]) == {f"{BOOK}/u_{n}" for n in (0, 1, 3)}
    assert list(table.loc["vits/a", ["attack", "model_name", "architecture", "language", "speaker"]]) == [
        "vits",
        "vits v1",
        "VITS",
        "en",
        "",
    ]
    assert list(table.loc[f"{BOOK}/u_0", ["attack", "model_name", "language", "speaker"]]) == [
        "",
        "",
        "en",
        "judy_bieber",
    ]
    assert table.loc[f"{BOOK}/u_3", "path"] == f"{root}/mailabs/{BOOK}/u_3.wav"
    assert corpora.missing_audio(table) == []


def test_all_takes_every_file_of_the_language(lay: Lay) -> None:
    """Both English folders, also what no spoof was made from, and no other language."""
    others = {"mailabs/en_UK/by_book/female/elizabeth_klett/b/wavs/x.wav": "", "mailabs/de_DE/by_book/x.wav": ""}
    root = lay(tree(**TWO) | others)
    chosen = trials(root, "bonafide", bona_fide="all")
    assert chosen == ["en_UK/by_book/female/elizabeth_klett/b/wavs/x", *(f"{BOOK}/u_{n}" for n in range(5))]


@pytest.mark.parametrize("models", [["vits"], ["vits", "bark"], ["many"]])
def test_balanced_has_as_many_of_each_class(models: list[str], lay: Lay) -> None:
    """The larger class is reduced to the smaller, whichever it is; another seed is another sample."""
    root = lay(tree(**TWO, many=[(str(n), ORIGINALS[0]) for n in range(9)]))
    both = [trials(root, label, bona_fide="balanced", models=models) for label in ("bonafide", "spoof")]
    assert len(both[0]) == len(both[1]) == min(5, sum(len(TWO.get(model, range(9))) for model in models))
    seeds = [load(root, bona_fide="balanced", models=models, seed=seed).digest for seed in (0, 0, 1, 2, 3, 4)]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) > 1


def test_every_rule_has_its_own_digest(lay: Lay) -> None:
    """Numbers on different bona fide sides must never be compared."""
    root = lay(tree(**TWO))
    assert len({load(root, bona_fide=rule).digest for rule in ("matched", "all", "balanced")}) == 3


def test_no_row_is_lost_to_quotes_and_wrong_paths_do_not_matter(lay: Lay) -> None:
    """Quotes are characters, paths with another language folder still lie beside their meta.csv, columns may move."""
    meta = "transcript|original_file|path|reference_speaker\n" + "".join(
        f'"said {n}|{ORIGINALS[0]}|./fake/zh/elsewhere/{n}.wav|x\n' for n in range(4)
    )
    root = lay({"mlaad/fake/en/odd/meta.csv": meta, "mailabs/" + ORIGINALS[0]: "", "mlaad/fake/en/odd/0.wav": ""})
    table = load(root).trials
    assert table["trial"].tolist() == [f"odd/{n}" for n in range(4)] + [f"{BOOK}/u_0"]
    assert table["path"].iloc[2] == f"{root}/mlaad/fake/en/odd/2.wav"


@pytest.mark.parametrize(
    "fake", ["mlaad/fake", "fake", "mlaad", "Mlaad_v5/mlaad_v5/fake", "mlaad/Mlaad_v5/mlaad_v5/fake"]
)
@pytest.mark.parametrize("originals", ["mailabs", "M-AILABS", "."])
def test_every_accepted_layout_is_one_dataset(fake: str, originals: str, lay: Lay) -> None:
    """Copies nest the folder `fake`; M-AILABS lies beside it under one of its names."""
    files = {
        name.replace("mlaad/fake/", f"{fake}/").replace("mailabs/", f"{originals}/"): text
        for name, text in tree(**TWO).items()
    }
    assert corpora.missing_audio(load(lay(files)).trials) == []


def test_the_folder_of_mlaad_may_be_given_with_the_originals_beside_it(lay: Lay) -> None:
    """`--data mlaad-en=/data/mlaad` still finds /data/mailabs."""
    root = lay(tree(**TWO))
    assert load(root / "mlaad").digest == load(root).digest


def test_without_any_audio_the_list_is_read(lay: Lay) -> None:
    """Scores made elsewhere need only meta.csv: the digest is that of the corpus with its audio."""
    files = tree(**TWO)
    root = lay({f"full/{name}": text for name, text in files.items()})
    lay({f"bare/{name}": text for name, text in files.items() if name.endswith("meta.csv")})
    bare = load(root / "bare")
    assert bare.digest == load(root / "full").digest
    assert len(corpora.missing_audio(bare.trials)) == len(bare.trials)
    with pytest.raises(Blocked, match="M-AILABS"):
        load(root / "bare", bona_fide="all")


def test_a_missing_original_is_named(lay: Lay) -> None:
    """The bona fide side is never silently smaller."""
    root = lay(tree(**TWO))
    (root / "mailabs" / ORIGINALS[3]).unlink()
    with pytest.raises(DataError, match=rf"1 of 3 originals are not in M-AILABS, first .*{ORIGINALS[3]}") as caught:
        load(root)
    assert caught.value.where == f"{root}/mlaad/fake/en/bark/meta.csv, line 3"
    assert caught.value.remedy


def test_a_folder_without_list_is_reported(lay: Lay) -> None:
    """A partial download is not skipped; hidden folders are none."""
    root = lay(tree(**TWO) | {"mlaad/fake/en/tacotron/x.wav": "", "mlaad/fake/en/.cache/x": ""})
    with pytest.raises(
        DataError, match=r"no meta.csv in tacotron\n  where: .*fake/en\n  remedy: complete the download"
    ):
        load(root)


def test_an_incomplete_release_is_blocked_with_what_is_missing(lay: Lay) -> None:
    """The named release is all of its 36 folders and no others."""
    names = datasets()["mlaad-en-v5"].arguments["models"]
    assert len(set(names)) == 36
    clips = {name: [("x", ORIGINALS[0])] for name in names}
    root = lay(tree(**clips, newer=[("x", ORIGINALS[4])]))
    assert len(load(root, "mlaad-en-v5").trials) == 36 + 1
    for name in ("vixTTS", "griffin_lim"):
        (root / "mlaad/fake/en" / name).rename(root / name)
    with pytest.raises(Blocked, match="2 of the 36 model folders of this release are not here: griffin_lim, vixTTS"):
        load(root, "mlaad-en-v5")


def test_what_is_not_here_is_blocked_with_what_to_get(lay: Lay) -> None:
    """MLAAD and M-AILABS are two downloads; each is searched and asked for."""
    root = lay({name: text for name, text in tree(**TWO).items() if name.startswith("mlaad/")})
    with pytest.raises(Blocked, match=r"M-AILABS \(en_\*\), the bona fide side") as caught:
        load(root)
    assert f"\n    {root}/mailabs\n" in str(caught.value)
    with pytest.raises(Blocked, match=r"MLAAD \(fake/en\) is not here") as caught:
        load(root / "mlaad/fake/en")
    assert f"\n    {root}/mlaad/fake/en/mlaad/fake/en\n" in str(caught.value)
    assert "mueller91/MLAAD" in str(caught.value.remedy)
    assert "M-AILABS" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("vits", "a", ORIGINALS[2]), "trial 'vits/a' is listed twice, first in line 2"),
        (row("vits", "c", "../../etc/passwd"), "'../../etc/passwd' leads outside the corpus"),
        (row("vits", "c", "/etc/passwd"), "'/etc/passwd' leads outside the corpus"),
        (row("vits", "c", ""), "empty file name"),
        (row("vits", "../..", ORIGINALS[0]).replace("...wav", ".."), "not a plain file name"),
        (row("vits", "c", ORIGINALS[0], "one|two"), "10 columns instead of the 9"),
        ("./fake/en/vits/c.wav|en_US", "2 columns instead of the 9"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_remedy(bad: str, message: str, lay: Lay) -> None:
    """Duplicates, paths that climb, empty and extra fields, a cut line."""
    files = tree(**TWO)
    files["mlaad/fake/en/vits/meta.csv"] = str(files["mlaad/fake/en/vits/meta.csv"]) + bad
    root = lay(files)
    with pytest.raises(DataError, match=message) as caught:
        load(root)
    assert caught.value.where == f"{root}/mlaad/fake/en/vits/meta.csv, line 4"
    assert caught.value.remedy


def test_rules_are_a_closed_list_and_folders_must_hold_something(lay: Lay) -> None:
    """A misspelt rule, no model folder, no audio in M-AILABS."""
    with pytest.raises(UsageError, match="did you mean matched"):
        load(lay({}), bona_fide="matchd")
    root = lay({"mlaad/fake/en/readme": ""})
    with pytest.raises(DataError, match="no model folder"):
        load(root)
    root = lay({"mlaad/fake/en/vits/meta.csv": HEADER + row("vits", "a", ORIGINALS[0]), "mailabs/en_US/info.txt": ""})
    with pytest.raises(DataError, match="no audio in M-AILABS"):
        load(root, bona_fide="all")


def test_the_real_files_are_read(shared: Path) -> None:
    """No row is lost to quotes, every original is counted once, all audio is there."""
    metas = sorted((shared / "corpora/mlaad/fake/en").glob("*/meta.csv"))
    rows = [line.split("|") for meta in metas for line in meta.read_text().splitlines()[1:]]
    table = load(shared / "corpora").trials
    assert (table["label"] == "spoof").sum() == len(rows)
    assert (table["label"] == "bonafide").sum() == len({fields[1] for fields in rows})
    assert corpora.missing_audio(pd.DataFrame(table)) == []


def test_the_list_says_its_models_and_its_bona_fide_side(lay: Lay) -> None:
    """Folders with the digest of their names, clips, how many are of the known release, originals, rule and readers."""
    v5 = datasets()["mlaad-en-v5"].arguments["models"]
    names = "".join(f"{name}\n" for name in sorted(("Mars5", "ours", "vixTTS")))
    digest = hashlib.sha256(names.encode()).hexdigest()[:12]
    clip = ("a", ORIGINALS[0])
    other = ("b", "en_UK/by_book/male/x/book/wavs/u.wav")
    root = lay(tree(Mars5=[clip, other], ours=[clip], vixTTS=[clip]) | {f"mailabs/{other[1]}": ""})
    assert load(root).about == (
        f"3 model folders (digest {digest}), 1 to 2 clips each: 2 of the {len(v5)} of release v5 and 1 other",
        "2 bona fide: the distinct M-AILABS originals of these clips (rule matched), 2 readers",
    )
    assert load(root).facts()["about"] == list(load(root).about)
    sides = [load(root, bona_fide=rule).about[1] for rule in ("all", "balanced")]
    assert sides == [
        "6 bona fide: every M-AILABS file of the language (rule all), 2 readers",
        "4 bona fide: M-AILABS files, as many as clips (rule balanced, seed 0), 1 reader",
    ]


def test_a_sample_says_what_it_is_from(lay: Lay) -> None:
    """The sentences of the whole list, marked: three trials of it are no release."""
    workspace = Workspace(Options(data_root=lay(tree(**TWO)), limit=3))
    whole, sample = workspace.dataset("mlaad-en"), workspace.evaluated("mlaad-en")
    assert len(sample.trials) < len(whole.trials)
    assert sample.facts()["about"] == [f"sampled from {sentence}" for sentence in whole.about]


def test_a_whole_release_is_recognised(lay: Lay) -> None:
    """By the names of its folders, whichever card reads them; a folder more is said."""
    v5 = datasets()["mlaad-en-v5"].arguments["models"]
    clips = {name: [("a", ORIGINALS[0])] for name in v5}
    for name, root in itertools.product(("mlaad-en", "mlaad-en-v5"), [lay(tree(**clips))]):
        assert load(root, name).about[0].endswith("1 clip each: all 36 of release v5 and no other")
    root = lay(tree(**clips, later=[("a", ORIGINALS[0])]))
    assert load(root).about[0].endswith("all 36 of release v5 and 1 other")
    assert load(root, "mlaad-en-v5").about[0].endswith("all 36 of release v5 and no other")


def test_another_language_is_of_no_known_release(lay: Lay) -> None:
    """Only English folders are listed: nothing is said of others than their number."""
    original = "de_DE/by_book/male/x/book/wavs/u.wav"
    meta = HEADER + row("vits", "a", original)
    root = lay({"mlaad/fake/de/vits/meta.csv": meta, "mlaad/fake/de/vits/a.wav": "", f"mailabs/{original}": ""})
    assert load(root, language="de").about[0].endswith("1 clip each: of no known release")
