"""The shape of a cell's manifest, cell.json, as far as anything reads it (`bench.store` says what it is).

A store is read by other versions than those that wrote it, and files are edited by hand. What is absent was not told
by the version that wrote it, which every reader allows for. What is there but of another type would end a table of a
thousand cells far from here: such a cell counts as damaged, and alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Text: TypeAlias = str | None
Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**53)]  # as JSON holds whole numbers everywhere
Amount: TypeAlias = Annotated[float, Field(ge=0)] | None


class _Told(BaseModel):
    # Other versions may say more.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class _Rates(_Told):
    pmiss: float
    pfa: float
    pfa_spoof: float


class _Dataset(_Told):
    name: str
    digest: str = ""
    trials: Count = 0
    bonafide: Count = 0
    spoof: Count = 0
    title: Text = None
    summary: Text = None
    licence: Text = None
    sibling_of: Text = None
    clean: Text = None
    perturbation: Text = None
    notes: list[str] = []
    about: list[str] = []
    warnings: list[str] = []
    counts: dict[str, Count | None] | None = None
    asv: _Rates | None = None


class _Start(_Told):
    file: str
    sha256: str
    verified: bool


class _List(_Told):
    name: str
    digest: str
    trials: Count
    warnings: list[str] = []


class _Weights(_Told):
    file: Text = None
    source: Text = None
    licence: Text = None
    sha256: Text = None
    recipe_key: Text = None
    verified: bool = False
    trained: bool = False
    seed: int | None = None
    start: dict[str, str | _Start] | None = None
    lists: list[_List] = []


class _Audio(_Told):
    window: Text = None
    rate: Count | None = None
    samples: Count | None = None
    epsilon: Amount = None


class _Recipe(_Told):
    seed: int | None = None


class _Decision(_Told):
    column: str
    threshold: float


class _Detector(_Told):
    name: str
    title: Text = None
    summary: Text = None
    family: Text = None
    paper: Text = None
    code: Text = None
    licence: Text = None
    model: Text = None
    scores: Text = None
    parameters: Count | None = None
    notices: list[str] | None = None
    notes: list[str] | None = None
    trained_on: list[str] | None = None
    selected_on: list[str] | None = None
    arguments: dict[str, Any] | None = None
    audio: _Audio | None = None
    weights: _Weights | None = None
    recipe: _Recipe | None = None
    decision: _Decision | None = None
    published: list[dict[str, Any]] | None = None  # read by `bench.published`


class _Timings(_Told):
    audio_seconds_per_second: Amount = None
    real_time_factor: Amount = None
    forward_seconds: Amount = None
    peak_memory_bytes: Count | None = None


class _Manifest(_Told):
    key: str
    status: str
    dataset: _Dataset
    detector: _Detector
    scorer: Text = None
    leakage: Text = None
    failed: Count = 0
    first_failure: str = ""
    precision: Text = None
    batch_size: Count | None = None
    hardware: dict[str, Any] | None = None
    probes: dict[str, dict[str, Any]] | None = None
    executor: Text = None
    compiled: bool | None = None
    earlier: list[dict[str, Any]] = []
    started: Text = None
    finished: Text = None
    timings: _Timings | None = None


def fault(manifest: Mapping[str, Any]) -> str:
    """What is not as it is read first: `no dataset`, `dataset.trials: Input should be a valid integer`; else ''."""
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"no {place}" if first["type"] == "missing" else f"{place}: {first['msg']}"
    return ""
