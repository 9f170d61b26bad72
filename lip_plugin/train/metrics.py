"""What a run reports while it trains: a CSV always, TensorBoard scalars where the library is installed."""

from __future__ import annotations

import csv
import importlib
import importlib.util
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.csv"
COLUMNS: tuple[str, ...] = (
    "epoch",
    "eps",
    "learning_rate",
    "loss",
    "seconds",
    "batch_clean_accuracy",
    "batch_verified_robust_accuracy_estimate",
    "held_out_clean_accuracy",
    "held_out_verified_robust_accuracy",
    "held_out_median_gradient_over_pair_bound",
)


class Metrics:
    """One row per epoch in ``metrics.csv`` and the same numbers as scalars under ``tensorboard/``.

    A resumed run keeps the rows of the epochs that it has and drops later ones.
    """

    def __init__(self, directory: Path, *, finished_epochs: int) -> None:
        self._path = directory / METRICS_FILE
        rows = _rows_up_to(self._path, finished_epochs)
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        self._board = _summary_writer(directory / "tensorboard", finished_epochs)

    def add(self, row: dict[str, float | None]) -> None:
        """Append one epoch; columns that are missing or None stay empty."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS, restval="").writerow({k: v for k, v in row.items() if v is not None})
        if self._board is not None:
            for name, value in row.items():
                if value is not None and name != "epoch":
                    self._board.add_scalar(name, value, int(row["epoch"] or 0))
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _rows_up_to(path: Path, epochs: int) -> list[dict[str, str]]:
    if epochs == 0 or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]


def _summary_writer(directory: Path, finished_epochs: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    module = importlib.import_module("torch.utils.tensorboard")
    return module.SummaryWriter(str(directory), purge_step=finished_epochs + 1)
