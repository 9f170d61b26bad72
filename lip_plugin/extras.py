"""Libraries of extras, imported when something needs them."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from lip_plugin.errors import MissingDependencyError

_OF_REPORTS = ("jinja2", "markupsafe", "matplotlib", "PIL")


@contextmanager
def extra(name: str, libraries: Collection[str]) -> Generator[None]:
    """Turn the failed import of one of ``libraries`` into MissingDependencyError, which names the extra.

    Other errors stay what they are.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library not in libraries:
            raise
        raise _missing(library, name, error) from error


def report_extra() -> AbstractContextManager[None]:
    """`extra` of everything that draws a page."""
    return extra("report", _OF_REPORTS)


def require(module: str) -> Any:
    """A library of the extra ``train``. Raises MissingDependencyError."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module, "train", error) from error


def _missing(library: str, name: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"{library} cannot be imported ({error}); install it with: pip install 'lip-plugin[{name}]'"
    )
