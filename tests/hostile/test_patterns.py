"""No regular expression of the package backtracks exponentially: by the clock, on text made for each of them.

A pattern takes long where a repeated part can be read in two ways. So every repeated part is filled, in each of its
alternatives, and behind it comes what no pattern wants, which makes it try all ways.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lip_plugin

SECONDS = 20  # all patterns of the package need less than one
STYLE = r"(?:[\w\s:;#.,%()'-]|url\(#[\w-]+\))*"  # took 2^60 steps once

TRIED = r"""
import json, re, sys
try:
    from re import _constants as kinds, _parser as parser
except ImportError:  # Python 3.10
    import sre_constants as kinds, sre_parse as parser

TIMES = 60
REPEATS = [getattr(kinds, name, None) for name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")]

def members(items):
    for kind, of in items:
        if kind is kinds.LITERAL:
            yield chr(of)
        elif kind is kinds.RANGE:
            yield chr(of[0])
        elif kind is kinds.CATEGORY:
            yield {kinds.CATEGORY_DIGIT: "0", kinds.CATEGORY_SPACE: " "}.get(of, "a")

def filled(tree, long, choice):
    text = ""
    for kind, of in tree:
        if kind is kinds.LITERAL:
            text += chr(of)
        elif kind in (kinds.ANY, kinds.NOT_LITERAL):
            text += "a"
        elif kind is kinds.IN:
            found = list(members(of))
            text += found[choice % len(found)] if found and of[0][0] is not kinds.NEGATE else "a"
        elif kind in REPEATS:
            times = min(of[1], TIMES if of[2] is long or long is None else 1)
            text += filled(of[2], long, choice) * int(times)
        elif kind is kinds.SUBPATTERN:
            text += filled(of[3], long, choice)
        elif kind is kinds.BRANCH:
            text += filled(of[1][choice % len(of[1])], long, choice)
    return text

def repeated(tree):
    for kind, of in tree:
        if kind in REPEATS:
            yield of[2]
            yield from repeated(of[2])
        elif kind is kinds.SUBPATTERN:
            yield from repeated(of[3])
        elif kind is kinds.BRANCH:
            for one in of[1]:
                yield from repeated(one)

for pattern in json.load(sys.stdin):
    tree = parser.parse(pattern)
    for long in [None, *repeated(tree)]:
        for choice in range(4):
            text = filled(tree, long, choice)
            re.fullmatch(pattern, text + "\0")
            re.search(pattern, text + "\0")
"""


def _patterns() -> Iterator[str]:
    """Every literal that is handed to a function of `re` in the package."""
    for path in Path(lip_plugin.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                of_re = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                if of_re and isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value)


def _try(patterns: list[str], seconds: float) -> None:
    given = json.dumps(patterns).encode()
    subprocess.run([sys.executable, "-I", "-c", TRIED], input=given, timeout=seconds, check=True)


def test_no_pattern_takes_long() -> None:
    found = list(_patterns())
    assert len(found) > 10
    _try(found, SECONDS)


def test_a_pattern_that_takes_long_is_noticed() -> None:
    assert re.fullmatch(STYLE, "fill: url(#a)")
    with pytest.raises(subprocess.TimeoutExpired):
        _try([STYLE], 2)
