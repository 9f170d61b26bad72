"""What is said after every epoch: a row of metrics, a line in the log, figures on held-out images."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from lip_plugin.data import LabelledImages
from lip_plugin.evaluate import Request, evaluate_images
from lip_plugin.models import freeze
from lip_plugin.ranks import Ranks
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.metrics import Metrics
from lip_plugin.train.schedule import eps_at
from lip_plugin.train.state import TrainState
from lip_plugin.types import format_eps

logger = logging.getLogger(__name__)

_Row = dict[str, float | None]


@dataclass
class EpochReports:
    """Called by every rank after every epoch; held-out images are shared by the ranks. ``metrics``: first rank only."""

    config: TrainConfig
    held_out: LabelledImages | None
    ranks: Ranks
    metrics: Metrics | None = None

    def close(self) -> None:
        if self.metrics is not None:
            self.metrics.close()

    def __call__(self, state: TrainState) -> None:
        config = self.config
        clean, proved = state.accuracies[-1]
        row: _Row = {
            "epoch": state.epoch,
            "eps": eps_at(state.epoch - 1, config.epochs, config.eps, config.eps_ramp),
            "learning_rate": state.optimiser.learning_rate,
            "loss": state.losses[-1],
            "seconds": state.seconds,
            "batch_clean_accuracy": clean,
            "batch_verified_robust_accuracy_estimate": None if math.isnan(proved) else proved,
            **self._on_held_out(state),
        }
        if self.metrics is not None:
            self.metrics.add(row)
            logger.info("%s", _line(config, row))

    def _on_held_out(self, state: TrainState) -> _Row:
        """With the sound bound, at the training radius."""
        if self.held_out is None:
            return {}
        network = freeze(state.result)
        self.ranks.take_from_leader(network)
        proofs = Request.of(self.config.eps, tightness=True)
        report = evaluate_images(network, self.held_out, proofs, ranks=self.ranks)
        return {
            "held_out_clean_accuracy": report.clean_accuracy,
            "held_out_verified_robust_accuracy": report.eps[0].verified_robust_accuracy,
            "held_out_median_gradient_over_pair_bound": None if report.tightness is None else report.tightness.median,
        }


def _line(config: TrainConfig, row: Mapping[str, float | None]) -> str:
    """One epoch in words. Batch figures are of augmented images and estimated constants."""
    parts = [f"loss {row['loss']:.4f}", f"batches: clean {100 * (row['batch_clean_accuracy'] or 0):.1f} %"]
    estimate = row["batch_verified_robust_accuracy_estimate"]
    if estimate is not None:
        parts.append(f"VRA at {format_eps(config.eps)} about {100 * estimate:.1f} % (estimate)")
    clean, proved = row.get("held_out_clean_accuracy"), row.get("held_out_verified_robust_accuracy")
    if clean is not None and proved is not None:
        parts.append(f"held out: clean {100 * clean:.1f} %, VRA {100 * proved:.1f} % (proved)")
    used = row.get("held_out_median_gradient_over_pair_bound")
    if used is not None:
        parts.append(f"gradient {used:.2f} of the pair bound")
    return f"epoch {row['epoch']}/{config.epochs}: {', '.join(parts)}; {(row['seconds'] or 0) / 60:.1f} min"
