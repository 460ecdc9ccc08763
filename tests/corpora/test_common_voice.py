"""bench.corpora.common_voice: the validated list of a release as it is exported, quotes and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import corpora
from bench.corpora.common_voice import _rows
from bench.corpora.tables import read_table
from bench.errors import Blocked, DataError
from bench.registry import datasets
from tests.corpora.conftest import Lay

CARD = datasets()["common-voice"]
HEADER = "client_id\tpath\tsentence_id\tsentence\tup_votes\tlocale\tsegment\n"
ROWS = [
    'ab12\tcommon_voice_en_1.mp3\t9f\tHe said "no.\t2\ten\t\n',
    'cd34\tcommon_voice_en_2.mp3\t8e\t"Unbalanced, and, commas\t2\ten\t\n',
    'ab12\tcommon_voice_en_3.mp3\t7d\tWhat\'s "this" …?\t3\ten\tBenchmark\n',
]
PLACE = "common-voice/cv-corpus-17.0-2024-03-15/en"


def release(place: str = PLACE, rows: str = "".join(ROWS), header: str = HEADER) -> dict[str, str | bytes]:
    clips: dict[str, str | bytes] = {f"{place}/clips/common_voice_en_{n}.mp3": "x" for n in (1, 2, 3)}
    return clips | {f"{place}/validated.tsv": header + rows, f"{place}/invalidated.tsv": HEADER}


def load(root: Path, **arguments: Any) -> corpora.Dataset:
    return corpora.load(CARD.model_copy(update={"arguments": CARD.arguments | arguments}), root)


def test_validated_clips_are_real_speech(lay: Lay) -> None:
    """No row is lost to a quote; label, speaker and language of each, and the file in `clips`."""
    root = lay(release())
    table = load(root).trials
    assert table["trial"].tolist() == [f"common_voice_en_{n}" for n in (1, 2, 3)]
    assert set(table["label"]) == {"bonafide"}
    assert table["speaker"].tolist() == ["ab12", "cd34", "ab12"]
    assert set(table["language"]) == {"en"}
    assert table["path"][0] == f"{root}/{PLACE}/clips/common_voice_en_1.mp3"
    assert corpora.missing_audio(table) == []


@pytest.mark.parametrize(
    "place",
    ["common-voice/en", "common_voice/en", "common-voice/cv-corpus-6.1-2020-12-11/en", "cv-corpus-3/en", "en", "."],
)
def test_every_accepted_layout_is_one_dataset(place: str, lay: Lay) -> None:
    """A release below the data root, or the folder of the release or of the language given for it."""
    table = load(lay(release(place)))
    assert len(table.trials) == 3
    assert corpora.missing_audio(table.trials) == []


def test_several_releases_are_not_mixed_up(lay: Lay) -> None:
    """Which one is meant must be said; other languages of one release are no matter."""
    root = lay(release() | release("common-voice/cv-corpus-17.0-2024-03-15/de"))
    assert len(load(root).trials) == 3
    lay(release("common-voice/cv-corpus-9.0/en"))
    with pytest.raises(
        DataError, match=r"several releases of Common Voice: .*17\.0-2024-03-15/en, .*9\.0/en"
    ) as caught:
        load(root)
    assert caught.value.remedy == "give the folder of one of them: --data NAME=FOLDER"
    assert len(load(root / "common-voice" / "cv-corpus-9.0").trials) == 3


def test_the_list_tells_the_language(lay: Lay) -> None:
    """Its column `locale` counts more than the folder; the first releases had none, and no suffix either."""
    mixed = load(lay(release(rows=ROWS[0] + ROWS[1].replace("\ten\t", "\tcy\t")))).trials
    assert mixed["language"].tolist() == ["en", "cy"]
    old = "client_id\tpath\tsentence\n" + "ab\tcommon_voice_en_1\tno\ncd\tcommon_voice_en_2.mp3\tyes\n"
    table = load(lay(release(header="", rows=old))).trials
    assert table["language"].tolist() == ["en", "en"]
    assert [Path(path).name for path in table["path"]] == ["common_voice_en_1.mp3", "common_voice_en_2.mp3"]


def test_reading_in_one_go_is_reading_line_by_line(lay: Lay) -> None:
    """The quick way and the way that tells lines agree, with a byte order mark and foreign line ends too."""
    for text in (
        HEADER + "".join(ROWS),
        "\ufeff" + HEADER + "".join(ROWS),
        (HEADER + "".join(ROWS)).replace("\n", "\r\n"),
    ):
        file = lay({"validated.tsv": text}) / "validated.tsv"
        quick, slow = _rows(file), read_table(file, ("client_id", "path", "locale"), delimiters="\t", quotes=False)
        assert quick.lines.tolist() == slow.lines.tolist()
        assert quick.table.equals(slow.table[list(quick.table)])
    blank = _rows(lay({"validated.tsv": HEADER + ROWS[0] + "\n" + ROWS[1]}) / "validated.tsv")
    assert blank.lines.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ab\t../../x.mp3\t9f\tno\t2\ten\t\n", "'../../x.mp3' is not a plain file name"),
        ("ab\t/etc/x.mp3\t9f\tno\t2\ten\t\n", "'/etc/x.mp3' is not a plain file name"),
        ("ab\t\t9f\tno\t2\ten\t\n", "'' is not a plain file name"),
        ("ab\tcommon_voice_en_2.mp3\t9f\tno\t2\ten\t\n", "trial 'common_voice_en_2' is listed twice, first in line 3"),
        ("ab\tx.mp3\t9f\n", "3 columns instead of the 7 of the header"),
    ],
)
def test_a_bad_row_is_refused_with_file_line_and_remedy(row: str, message: str, lay: Lay) -> None:
    """Names that climb, an empty one, a clip twice, a cut line."""
    root = lay(release(rows="".join(ROWS) + row))
    with pytest.raises(DataError) as caught:
        load(root)
    assert caught.value.what == message
    assert caught.value.where == f"{root}/{PLACE}/validated.tsv, line 5"
    assert caught.value.remedy


def test_a_list_of_another_form_is_refused(lay: Lay) -> None:
    """No column of speakers, bytes that are no text, no row at all, an empty file."""
    for header, message in (
        ("path\tsentence\n", "the header has no column `client_id` and `path`"),
        ("", "the file is empty"),
        (HEADER, "no trial in this list"),
    ):
        with pytest.raises(DataError, match=message):
            load(lay(release(header=header, rows="")))
    root = lay({f"{PLACE}/validated.tsv": HEADER.encode() + b"\xff\xfe\tx.mp3\t\t\t\t\t\n"})
    with pytest.raises(DataError, match=r"not UTF-8 text\n  where: .*validated\.tsv, line 2"):
        load(root)


def test_what_is_not_here_is_blocked_with_what_to_get(lay: Lay) -> None:
    """An account is needed; the places that were searched are named."""
    with pytest.raises(Blocked, match=r"validated\.tsv of Common Voice \(en\) is not here") as caught:
        load(lay({"common-voice/cv-corpus-9.0/de/validated.tsv": HEADER}))
    assert "common-voice/cv-corpus-*/en/validated.tsv" in str(caught.value.where)
    assert "register at https://commonvoice.mozilla.org" in str(caught.value.remedy)
