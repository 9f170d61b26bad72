"""``LICENSE.txt`` and ``CITATION.bib``: from the card, in the words of whoever wrote it."""

from __future__ import annotations

import re

from lip_plugin.untrusted import printable
from lip_plugin.zoo import ModelCard

_OF_THE_CODE = """\
The code in robustbench/architecture.py is part of lip-plugin:

MIT License

Copyright (c) 2026 the lip-plugin authors

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def licence(card: ModelCard) -> str:
    stated = card.licence or "not stated; ask its authors before you use or pass on the weights"
    return (
        f"Licence of the model {card.name} (model/, robustbench/*.pt), as its card states it:\n\n{stated}\n\n"
        "adversarial.safetensors holds differences from images, not the images. Images themselves, where images.npz\n"
        "and robustbench/x_adv.pt are there, stay under the terms of their data set.\n\n"
        f"{_OF_THE_CODE}"
    )


def citation(card: ModelCard) -> str:
    """The card's own BibTeX, or an entry for the weights: the paper that the card names may be somebody else's."""
    if card.bibtex:
        return card.bibtex.rstrip("\n") + "\n"
    fields = {
        "title": f"{card.name}: weights of a certified classifier",
        "author": card.authors,
        "howpublished": card.venue,
        "url": card.link,
        "note": f"Network digest {card.digest[:16]}. {f'Paper: {card.paper}' if card.paper else ''}".rstrip(),
    }
    key = re.sub(r"[^A-Za-z0-9_:-]", "", card.name) or "model"
    lines = [f"  {name} = {{{_value(text)}}}," for name, text in fields.items() if text]
    return "\n".join([f"@misc{{{key},", *lines, "}"]) + "\n"


def _value(text: str) -> str:
    """One line whose braces are balanced, because it has none."""
    return printable(text.translate({ord("{"): "(", ord("}"): ")"}).replace("\n", " "))
