"""What a card says of a network that does not follow from it: names, where it comes from, what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from lip_plugin.errors import ConfigError
from lip_plugin.network.record import Network
from lip_plugin.schema.figures import Figures
from lip_plugin.schema.kinds import Line
from lip_plugin.schema.provenance import Provenance
from lip_plugin.schema.report import ModelSummary
from lip_plugin.types import parse_eps
from lip_plugin.untrusted import printable

_NAMES: TypeAdapter[tuple[Line, ...]] = TypeAdapter(tuple[Line, ...])


class Measured(Protocol):
    """What is asked of a report here; `lp.compare` gives one."""

    @property
    def status(self) -> str: ...
    @property
    def model(self) -> ModelSummary: ...
    def figures(self) -> Figures: ...


def description(
    network: Network,
    name: str,
    *,
    dataset: str | None = None,
    class_names: Sequence[str] = (),
    card: Provenance | None = None,
    report: Measured | None = None,
) -> dict[str, Any]:
    """For `write_network`; what is not given is left out. Raises ConfigError for names and for another's report."""
    return {
        "name": name,
        **({} if dataset is None else {"dataset": dataset}),
        **({"class_names": _checked_names(network, class_names)} if len(class_names) else {}),
        **({} if report is None else _figures(network, report)),
        **({} if card is None else card.model_dump(exclude_none=True)),
    }


def _checked_names(network: Network, names: Sequence[str]) -> list[str]:
    if isinstance(names, str) or len(names) != network.num_classes:
        raise ConfigError(f"{len(names)} class names for a network of {network.num_classes} classes; list one for each")
    try:
        return list(_NAMES.validate_python(tuple(names)))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        number = problem["loc"][0]
        raise ConfigError(f"the name of class {number}: {printable(problem['msg'], longest=300)}") from error


def _figures(network: Network, report: Measured) -> dict[str, Any]:
    about, own = report.model.digest, network.digest
    if about != own:
        raise ConfigError(f"the report is about network {about[:12]}, and this is {own[:12]}; evaluate this one")
    if report.status == "failed":
        raise ConfigError("the report contradicts the certificates of this network; a card cannot take its figures")
    figures = report.figures()
    grid = sorted(map(parse_eps, figures.verified_robust_accuracy or {}))
    return {"eps_grid": grid, "measured": figures.model_dump()}
