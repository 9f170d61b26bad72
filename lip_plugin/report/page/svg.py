"""A matplotlib figure as a part of a page: inline SVG whose colours follow the page's light or dark theme."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET

from markupsafe import Markup
from matplotlib.figure import Figure

from lip_plugin.report.plots.style import ATTACKED, FAILED, INK, PROVED, QUIET, plot_style

_VARIABLES = {INK: "ink", QUIET: "quiet", PROVED: "proved", ATTACKED: "attacked", FAILED: "failed"}
_COLOUR = re.compile("|".join(_VARIABLES))
_REFERENCE = re.compile(r"(url\(#|^#)")
_LEFT_OUT = {"metadata", "style"}  # a style sheet inside would apply to the whole page


def inline_svg(figure: Figure, *, name: str, description: str) -> Markup:
    """The figure as ``<svg role="img">``. ``name`` keeps its ids apart from those of other figures of the page."""
    content = io.StringIO()
    with plot_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has other fonts
        figure.savefig(content, format="svg", transparent=True)
    root = ET.fromstring(content.getvalue())
    _adapt(root, name)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": description, "class": "plot"}
    return Markup(ET.tostring(root, encoding="unicode"))  # escaped by the serialiser


def _adapt(element: ET.Element, name: str) -> None:
    """Names without their namespace, as HTML wants them; ids with the figure's name; colours as variables."""
    element.tag = element.tag.rpartition("}")[2]
    attributes: dict[str, str] = {}
    for key, value in element.attrib.items():
        local = key.rpartition("}")[2]
        if local == "id":
            attributes[local] = f"{name}-{value}"
        elif local == "style":
            attributes[local] = _COLOUR.sub(lambda match: f"var(--{_VARIABLES[match[0]]})", value)
        else:
            attributes[local] = _REFERENCE.sub(rf"\g<1>{name}-", value)
    element.attrib = attributes
    for child in list(element):
        if child.tag.rpartition("}")[2] in _LEFT_OUT:
            element.remove(child)
        else:
            _adapt(child, name)
