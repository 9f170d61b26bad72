"""Where a model comes from, as a card says it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lip_plugin.schema.kinds import Flag, Text


class Provenance(BaseModel):
    """Where a model comes from, in words: the part of a card that a person writes.

    model.save("my_model", dataset="cifar10", card=lp.Provenance(authors="A. Author", licence="MIT"))
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Text | None = None
    """For whom and for what it is, and for what it is not."""
    based_on: Text | None = None
    paper: Text | None = None
    authors: Text | None = None
    venue: Text | None = None
    link: Text | None = None
    bibtex: Text | None = None
    licence: Text | None = None
    additional_data: Flag | None = None
