"""``report.md``: the table, the remarks, and how each layer's constant was proved."""

from __future__ import annotations

from collections.abc import Sequence

from lip_plugin.evaluate import Report
from lip_plugin.report.summary import headline, remarks, table_header, table_rows


def markdown(report: Report) -> str:
    layers = [
        [layer.name, f"{layer.value:.6f}", layer.method] for layer in report.lipschitz.layers if layer.value != 1.0
    ]
    parts = [
        f"# {report.model.name}",
        headline(report),
        _table(table_header(report), table_rows(report)),
        "\n".join(f"- {remark}" for remark in remarks(report)),
        "## Lipschitz constants, layer by layer (1-Lipschitz layers left out)",
        _table(["layer", "upper bound", "proved by"], layers),
        f"Environment: {', '.join(f'{name} {value}' for name, value in report.environment.items())}.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
