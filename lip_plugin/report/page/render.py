"""``report.html``: one self-contained file without scripts, readable on a phone, in the dark and by ear."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lip_plugin.evaluate import Report
from lip_plugin.report.document import report_document
from lip_plugin.report.page.fields import field, pointer_token
from lip_plugin.report.page.gallery import gallery_rows, may_be_shown
from lip_plugin.report.page.plots import page_plots
from lip_plugin.report.page.reproduce import python_call
from lip_plugin.report.summary import ADVICE
from lip_plugin.untrusted import printable


def html_page(report: Report, *, gallery: bool | None = None) -> str:
    """The page. Every number in it is one of ``report.json``, which it holds as a whole.

    ``gallery`` shows images beside their adversarial version; None shows them where the data set's terms are
    known to let single images be passed on. Names are a stranger's: they are escaped, and a content security
    policy lets the page load and run nothing.
    """
    document = report_document(report)
    shown = may_be_shown(report) if gallery is None else gallery
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            document=document,
            attacks=report.attacks,
            advice=ADVICE if report.tightness is not None and report.tightness.is_loose else "",
            field=partial(field, document),
            images=_images(report, document),
            official=report.dataset.is_official,
            plots=page_plots(report),
            gallery=gallery_rows(report) if shown else [],
            withheld=0 if shown else len(report.adversarial),
            python=python_call(report),
            token=pointer_token,
            css=_style_sheet(),
        )
    )


def _images(report: Report, document: Mapping[str, Any]) -> Markup:
    """Which images it is about, in the words of every report, with each value marked as the one in ``report.json``."""
    values = {name: field(document, f"/dataset/{name}", "count") for name in ("n", "of", "classes", "of_classes")}
    names = {name: field(document, f"/dataset/{name}", "text") for name in ("name", "split")}
    return Markup(report.dataset.wording).format(**values, **names)


def notebook_frame(report: Report) -> Markup:
    """The page inside a frame of its own, so that neither it nor the notebook paints the other."""
    return Markup(
        '<iframe title="robustness report" sandbox srcdoc="{}" style="width: 100%; height: 40rem; border: 0"></iframe>'
    ).format(escape(html_page(report)))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lip_plugin.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_presentable,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment


def _presentable(value: Any) -> Any:
    """Text without what steers a terminal or turns the reading direction; line breaks stay."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(printable(line) for line in value.split("\n"))
    return value


@cache
def _style_sheet() -> Markup:
    return Markup((resources.files("lip_plugin.report.page") / "templates" / "report.css").read_text(encoding="utf-8"))
