"""The base of every settings class: unknown keys, infinities and truth values in the place of numbers are errors."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class StrictSettings(BaseModel):
    """Frozen, validated settings as a stranger writes them in YAML. Raises pydantic's ValidationError."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``yes`` and ``on`` as true, pydantic takes true for 1: ``epochs: on`` would be one epoch."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        given: list[Any] = value if isinstance(value, list) else [value]
        if wanted is not bool and bool not in get_args(wanted) and any(isinstance(one, bool) for one in given):
            raise ValueError("expected no true, false, yes, no, on or off")
        return value
