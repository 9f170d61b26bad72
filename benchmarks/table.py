"""The table of benchmarks/README.md, from the files in benchmarks/results.

usage: python benchmarks/table.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
BEGINS, ENDS = "<!-- table -->\n", "<!-- /table -->"


@dataclass(frozen=True)
class Target:
    """Rows whose name matches, the ratio they should reach, and what it was in 0.1 where that was measured."""

    name: str
    ratio: float
    before: str = ""


TARGETS = (
    Target(r"Demo: first bound", 1.0),
    Target(r"LiResNet_S: first bound", 1.0, "0.10"),
    Target(r"wide-radius: first bound", 1.0),
    Target(r"Demo: certificates of", 1 / 1.15, "0.69"),
    Target(r"LiResNet_S: certificates of", 1 / 1.15, "0.69"),
    Target(r"wide-radius: certificates of", 1 / 1.15),
    Target(r"Demo: one image", 1 / 5, "0.01"),
    Target(r"LiResNet_S: one image", 1 / 5),
    Target(r"wide-radius: one image", 1 / 5),
    Target(r"EMMA loss and backward", 60, "14"),
    Target(r"step L6 W64 B256, ours float32", 1.3, "1.14"),
    Target(r"step L6 W64 B256, ours bfloat16", 2.3, "1.76"),
    Target(r"step L12 W256 B16, ours float32", 1.3, "1.00"),
    Target(r"step L12 W256 B16, ours bfloat16", 2.2, "1.38"),
    Target(r"AutoAttack, .* in one batch", 2.0),
    Target(r"two processes, certify", 1.7, "1.01"),
    Target(r"two processes, compare", 1.7, "1.33"),
)


def table() -> str:
    """Markdown: one line per measurement, then which machine and commit each file is from."""
    lines = ["| what | seconds | beside | seconds | ratio | before | target |", "|---|---|---|---|---|---|---|"]
    sources: list[str] = []
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        lines += _lines(document)
        commit, _, changed = (document["commit"] or "unknown").partition("-")
        of = f"commit {commit[:7]}{' with changes' if changed else ''}"
        sources.append(f"`{path.name}`: {document['device']}, {document['threads']} threads, {of}.")
    return "\n".join([*lines, "", *sources]) + "\n"


def _lines(document: dict[str, Any]) -> Iterator[str]:
    for one in document["results"]:
        if one["ratio"] is not None and one["what"].rpartition(", ")[2] != one["peer"]:
            target = next((goal for goal in TARGETS if re.search(goal.name, one["what"])), None)
            met = "" if target is None else f"{target.ratio:.2g}{'' if one['ratio'] >= target.ratio else ', missed'}"
            cells = (one["what"], _digits(one["seconds"]), one["peer"], _digits(one["peer_seconds"]))
            before = "" if target is None else target.before
            yield "| " + " | ".join([*cells, _digits(one["ratio"]), before, met]) + " |"


def _digits(value: float) -> str:
    return f"{value:.3g}"


def main() -> None:
    head, _, rest = README.read_text(encoding="utf-8").partition(BEGINS)
    README.write_text(f"{head}{BEGINS}{table()}{ENDS}{rest.partition(ENDS)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
