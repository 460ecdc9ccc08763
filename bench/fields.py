"""What the records of cards and recipes have in common."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments are part of a key: what JSON cannot hold (a date, NaN) has no one spelling."""
    try:
        json.dumps(arguments, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"give text, numbers, lists and mappings only: {error}") from None
    return arguments


Arguments = Annotated[dict[str, Any], AfterValidator(_plain)]
