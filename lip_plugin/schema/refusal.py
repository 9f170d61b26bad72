"""Why a stranger's document is not read: one line for every kind of document."""

from __future__ import annotations

from pydantic import ValidationError

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted import printable


def refusal(file: object, error: ValidationError, *, whole: str = "the document") -> CheckpointError:
    """To be raised: names the file, the first field that is wrong (``whole`` where it is none) and what it lacks."""
    problem = error.errors(include_url=False)[0]
    where = "/".join(map(str, problem["loc"])) or whole
    return CheckpointError(f"{file}: {printable(where, longest=200)}: {printable(problem['msg'], longest=300)}")
