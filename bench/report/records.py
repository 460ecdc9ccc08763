"""What `data/leaderboard.json` holds, as typed records; its JSON Schema is made of them.

Names and fractions are those of `bench show --json`; a page is a path below the site's root. A reader checks `schema`:
it is raised when a field is taken away or changes its meaning, not when one is added.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from bench.fields import Fields
from bench.published import Kind

Number: TypeAlias = float | int | None
Ends: TypeAlias = tuple[float, float]


class DetectorRecord(Fields):
    name: str
    title: str
    family: str
    licence: str | None = Field(description="of the code")
    weights_licence: str | None
    weights_sha256: str | None
    parameters: int | None
    page: str = Field(description="path below the site's root")


class DatasetRecord(Fields):
    """One trial list: of one name there may be several."""

    name: str
    digest: str | None = Field(description="sha256 of the trial list; null where only blocked cells are known")
    title: str
    licence: str | None
    trials: int | None
    bonafide: int | None
    spoof: int | None
    page: str


class VerdictRecord(Fields):
    """A number that others published, and what ours says of it."""

    dataset: str = Field(description="that the published number is of")
    eer: float = Field(description="published, as a fraction")
    kind: Kind
    text: str
    source: str
    note: str


class IntervalsRecord(Fields):
    """95 % intervals, lowest and highest; of the mean over the seeds where there is one."""

    unit: str = Field(description="what was drawn with replacement")
    warnings: list[str] = Field(description="why the intervals may be too narrow")
    eer: Ends
    f1_bonafide: Ends
    f1_spoof: Ends
    min_dcf: Ends
    auc: Ends


class SpreadRecord(Fields):
    mean: float
    best: float
    worst: float
    standard_deviation: float


class SeedRecord(Fields):
    seed: int
    key: str | None
    status: str
    reason: str
    eer: float | None
    f1_bonafide: float | None


class BandRecord(Fields):
    """Several trainings of one detector."""

    seeds: list[int]
    reason: str = Field(description="why there is no mean")
    eer: SpreadRecord | None
    f1_bonafide: SpreadRecord | None
    cells: list[SeedRecord]


class IntervalRecord(Fields):
    low: float
    high: float


class DifferenceRecord(Fields):
    value: float
    interval: IntervalRecord
    p_value: float


class DegradationRecord(Fields):
    """The EER under a perturbation minus that on the clean audio of the same trials."""

    clean: str
    difference: DifferenceRecord | None
    reason: str


class CellRecord(Fields):
    """One detector on one trial list. Metrics are of this cell alone; the mean over several seeds is in `band`."""

    detector: str
    dataset: str
    digest: str | None = Field(description="of the trial list; numbers of different digests do not compare")
    key: str | None = Field(description="sha256 of all that determined the scores")
    status: str = Field(description="complete, incomplete, failed, running or blocked")
    reason: str = Field(description="why it is not complete")
    remedy: str
    caveat: str = Field(description="what the numbers leave out")
    imported: bool = Field(description="the scores were made elsewhere")
    weights: str | None = Field(description="trained here, verified, unverified; null without weights")
    leakage: str = Field(description="what the weights may have seen of the dataset")
    trials: int | None = Field(description="of the dataset")
    rank: int | None = Field(description="by EER in its trial list, shared while no difference can be shown")
    eer: Number = Field(description="equal error rate, tie-aware")
    eer_threshold: Number = Field(description="a trial is accepted as bona fide when its score exceeds it")
    frr: Number = Field(description="share of bona fide trials rejected, at the EER threshold")
    far: Number = Field(description="share of spoofed trials accepted, at the EER threshold")
    f1_bonafide: Number = Field(description="F1, bona fide positive, at the test-set EER threshold")
    f1_spoof: Number = Field(description="F1, spoof positive, at the test-set EER threshold")
    f1_macro: Number = Field(description="mean of the two F1")
    accuracy: Number = Field(description="share of correct decisions, at the EER threshold")
    balanced_accuracy: Number = Field(description="mean of the shares of both classes that are decided rightly")
    auc: Number = Field(description="area under the ROC curve; below 0.5 the scores are inverted")
    min_dcf: Number = Field(description="lowest detection cost, as in ASVspoof 5")
    min_dcf_threshold: Number = Field(description="where the lowest detection cost is reached")
    act_dcf: Number = Field(description="detection cost of the Bayes decision; null where scores are no log-odds")
    cllr: Number = Field(description="cost of the log-odds in bits; null where scores are no log-odds")
    n_bonafide: Number = Field(description="scored bona fide trials")
    n_spoof: Number = Field(description="scored spoofed trials")
    n_distinct: Number = Field(description="different scores")
    largest_tie: Number = Field(description="trials that share the most frequent score")
    min_tdcf_2019: Number = Field(description="min t-DCF, legacy form of ASVspoof 2019; null without ASV scores")
    min_tdcf_2021: Number = Field(description="min t-DCF, form of ASVspoof 2021; null without ASV scores")
    intervals: IntervalsRecord | None
    native: dict[str, float | str] | None = Field(description="at the detector's own threshold")
    random_parts: list[str] = Field(description="parts whose training began with random weights")
    band: BandRecord | None
    degradation: DegradationRecord | None
    published: list[VerdictRecord]
    audio_seconds_per_second: float | None = Field(description="audio in a second of the detector's forward time")
    finished: str | None = Field(description="when the scores were complete, ISO 8601")
    page: str


class AverageRecord(Fields):
    detector: str
    rank: int = Field(description="inside its group")
    macro_eer: float
    macro_eer_interval: IntervalRecord
    pooled_eer: float | None


class GroupRecord(Fields):
    """Detectors with cells on exactly these datasets; averages of different groups do not compare."""

    datasets: dict[str, int] = Field(description="trials of each")
    averages: list[AverageRecord]


class ScopeRecord(Fields):
    cells: Literal["all", "held-out"]
    groups: list[GroupRecord]
    single: list[str] = Field(description="detectors with fewer than two such cells")


class LeftOutRecord(Fields):
    dataset: str
    detectors: list[str]
    reason: str


class AveragesRecord(Fields):
    formulas: dict[str, str]
    scopes: list[ScopeRecord]
    left_out: list[LeftOutRecord]


class Leaderboard(Fields):
    """All of a site: numbers as full floats and fractions, pages as paths below its root."""

    schema_file: str = Field(serialization_alias="$schema")
    version: Literal[1] = Field(default=1, serialization_alias="schema")
    url: str | None = Field(description="where the site is published")
    detectors: list[DetectorRecord]
    datasets: list[DatasetRecord]
    cells: list[CellRecord]
    averages: AveragesRecord
