"""``report.md``: the table, the remarks, and how each layer's constant was proved."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lip_plugin.evaluate import Report
from lip_plugin.report.summary import headline, remarks, table_header, table_rows
from lip_plugin.untrusted import printable

_MARKUP = re.compile(r"[\\`*\[\]<>|]")  # underscores inside words are no markup


def markdown(report: Report) -> str:
    layers = [
        [layer.name, f"{layer.value:.6f}", layer.method] for layer in report.lipschitz.layers if layer.value != 1.0
    ]
    environment = ", ".join(f"{name} {value}" for name, value in report.environment.items())
    parts = [
        f"# {escaped(report.model.name)}",
        escaped(headline(report)),
        table(table_header(report), table_rows(report)),
        "\n".join(f"- {escaped(remark)}" for remark in remarks(report)),
        "## Lipschitz constants, layer by layer (1-Lipschitz layers left out)",
        table(["layer", "upper bound", "proved by"], layers),
        f"Environment: {escaped(environment)}.",
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Of cells in plain text."""
    lines = [
        [escaped(cell) for cell in header],
        ["---"] * len(header),
        *([escaped(cell) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """One line that shows as it is: names come from cards and file names, and may hold anything."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))
