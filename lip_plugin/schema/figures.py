"""Figures of a model in percent, as a card holds them under ``measured`` and ``reported``."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)

from lip_plugin.schema.accuracies import excesses
from lip_plugin.schema.kinds import (
    MOST_EPS,
    AtLeastOne,
    Count,
    EpsText,
    Named,
    Percent,
    Positive,
    StatedCertificate,
    Text,
)
from lip_plugin.types import format_eps, parse_eps


def _checked(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    handler(value)
    return value


_AsGiven = WrapValidator(_checked)  # 60 stays 60: a card is written again as it was read
_Words = Annotated[Text, Field(max_length=2000)]
PercentByEps = Annotated[dict[EpsText, Annotated[Percent, _AsGiven]], Field(max_length=MOST_EPS)]
SurvivedByEps = Annotated[dict[EpsText, dict[Named, Annotated[Percent, _AsGiven]]], Field(max_length=MOST_EPS)]


class Figures(BaseModel):
    """None where nothing is said. Whatever else stands beside them (epochs, hardware) is kept, and read by people.

    Accuracies are keyed by radius as a text; ``verified_robust_accuracy`` is a lower bound of the true one,
    ``empirical_robust_accuracy``, per attack, an upper bound. ``dataset``: whose test images they are about, as told
    when they were measured. ``certify_seconds``, wall clock, is what all of ``images`` took ``certified_on`` a device.
    ``median_gradient_over_pair_bound``: how much of its own bound the network uses, at most 1 but for rounding.
    ``audited`` certificates, one for each image and radius, were attacked and held, and
    ``smallest_distance_over_radius`` was the closest call. ``attacked``: the same figures on other, as a rule fewer,
    images, on which attacks ran beside the proof.

    ``model_dump`` gives what was given, in that order. Raises pydantic's ValidationError, also where more is proved
    than is right, or than is proved at a smaller radius.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    clean_accuracy: Annotated[Percent, _AsGiven] | None = None
    verified_robust_accuracy: PercentByEps | None = None
    empirical_robust_accuracy: SurvivedByEps | None = None
    images: AtLeastOne | None = None
    dataset: _Words | None = None
    bound: _Words | None = None
    lipschitz_upper_bound: Annotated[Positive, _AsGiven] | None = None
    median_gradient_over_pair_bound: Annotated[Positive, _AsGiven] | None = None
    certify_seconds: Annotated[Positive, _AsGiven] | None = None
    certified_on: _Words | None = None
    audited: Count | None = None
    smallest_distance_over_radius: Annotated[Positive, _AsGiven] | None = None
    attacked: Figures | None = None
    arithmetic: _Words | None = None
    certificate: StatedCertificate | None = None
    source: _Words | None = None
    _order: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _in_order(cls, given: Any, handler: ModelWrapValidatorHandler[Figures]) -> Figures:
        figures = handler(given)
        if isinstance(given, dict):
            figures._order = tuple(given)
        return figures

    @model_validator(mode="after")
    def _fit_each_other(self) -> Figures:
        proved = self.verified_robust_accuracy or {}
        for eps, most in excesses(self.clean_accuracy, ((parse_eps(eps), share) for eps, share in proved.items())):
            raise ValueError(
                f"more is proved at {format_eps(eps)} than the {most} % that are right, or proved at a smaller radius"
            )
        return self

    @model_serializer
    def _as_given(self) -> dict[str, Any]:
        values = vars(self) | (self.model_extra or {})
        return {name: values[name] for name in dict.fromkeys((*self._order, *sorted(self.model_fields_set)))}


def share_of_percent(percent: float) -> float:
    """The double nearest to the decimal: 74.11 gives 0.7411."""
    return float(Decimal(repr(percent)).scaleb(-2))


def shares_by_eps(percents: Mapping[str, float] | None) -> dict[float, float]:
    """Radius -> share."""
    return {parse_eps(eps): share_of_percent(percent) for eps, percent in (percents or {}).items()}


def survived_shares(percents: Mapping[str, Mapping[str, float]] | None) -> dict[float, dict[str, float]]:
    """Radius -> attack -> share."""
    return {
        parse_eps(eps): {attack: share_of_percent(percent) for attack, percent in found.items()}
        for eps, found in (percents or {}).items()
    }
