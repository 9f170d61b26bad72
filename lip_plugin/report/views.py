"""What needs the libraries of the extra ``report``, which are loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lip_plugin.errors import MissingDependencyError
from lip_plugin.evaluate import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LIBRARIES = ("jinja2", "markupsafe", "matplotlib", "PIL")


def plot(report: Report) -> dict[str, Figure]:
    """`Report.plot`. Raises MissingDependencyError."""
    with _extra():
        from lip_plugin.report.plots import figures
    return figures(report)


def html(report: Report, *, gallery: bool | None = None) -> str:
    """The page; ``gallery`` None shows images where the data set's terms allow it. Raises MissingDependencyError."""
    with _extra():
        from lip_plugin.report.page import html_page
    return html_page(report, gallery=gallery)


def notebook(report: Report) -> str:
    """The page in a frame, as a notebook shows it. Raises MissingDependencyError."""
    with _extra():
        from lip_plugin.report.page import notebook_frame
    return notebook_frame(report)


@contextmanager
def _extra() -> Generator[None]:
    """Turns the failed import of a library of the extra into the words that help; other errors stay what they are."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        raise MissingDependencyError(
            f"{library} cannot be imported ({error}); install it with: pip install 'lip-plugin[report]'"
        ) from error
