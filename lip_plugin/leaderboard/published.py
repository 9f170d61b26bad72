"""Published figures of other methods: one file per paper, the schema "lip-published/1"."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lip_plugin.leaderboard.entry import Certificate, Entry, Origin, Proved
from lip_plugin.schema.figures import PercentByEps, SurvivedByEps, share_of_percent, shares_by_eps, survived_shares
from lip_plugin.schema.kinds import AtLeastOne, Flag, Named, Percent, StatedCertificate, WebAddress
from lip_plugin.schema.refusal import refusal
from lip_plugin.untrusted import parse_document


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedModel(_Record):
    """One model on one data set, figures in percent. ``params`` is as rounded as its source.

    ``link``: where its figures stand, if that is not the paper's link.
    ``additional_data``: trained on generated or other images beside the data set's own; None where that is unknown.
    """

    name: Named
    dataset: Named
    architecture: Named | None = None
    params: AtLeastOne | None = None
    clean: Percent | None = None
    certified: Annotated[PercentByEps, Field(min_length=1)]
    survived: SurvivedByEps = Field(default_factory=dict)
    additional_data: Flag | None = None
    source: Named
    link: WebAddress | None = None


class PublishedPaper(_Record):
    """A paper and how its certificates come about."""

    schema_: Literal["lip-published/1"] = Field(alias="schema")
    paper: Named
    link: WebAddress | None = None
    certificate: StatedCertificate
    method: Named
    models: Annotated[list[PublishedModel], Field(min_length=1, max_length=256)]


def published_papers() -> list[PublishedPaper]:
    """All that are shipped, by file name. Raises CheckpointError naming file and field."""
    folder = resources.files("lip_plugin.leaderboard") / "published"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return [_paper(file.read_bytes(), file.name) for file in files]


def _paper(content: bytes, file: str) -> PublishedPaper:
    try:
        return PublishedPaper.model_validate(parse_document(content, file))
    except ValidationError as error:
        raise refusal(file, error) from error


def published_entries() -> list[Entry]:
    """Every published model as a row."""
    return [entry for paper in published_papers() for entry in entries_of_paper(paper)]


def entries_of_paper(paper: PublishedPaper) -> list[Entry]:
    """A row per model. A model's own link wins over the paper's."""
    return [_entry(paper, model) for model in paper.models]


def _entry(paper: PublishedPaper, model: PublishedModel) -> Entry:
    return Entry(
        name=model.name,
        dataset=model.dataset,
        certificate=Certificate(paper.certificate),
        method=paper.method,
        origin=Origin.PUBLISHED,
        source=f"{paper.paper}; {model.source}",
        architecture=model.architecture or "",
        params=model.params,
        whole=True,
        clean=None if model.clean is None else share_of_percent(model.clean),
        proved={eps: Proved(share) for eps, share in shares_by_eps(model.certified).items()},
        survived=survived_shares(model.survived),
        additional_data=model.additional_data,
        link=model.link or paper.link or "",
    )
