"""What verifying a bundle takes, from the shapes in its card alone, before any of it is done."""

from __future__ import annotations

import torch

from lip_plugin.errors import ConfigError
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.limits import network_work

_PER_SECOND = 2.0**34
"""Products in float64 of one thread of a fast core: what is refused would hardly end in time on any."""

_PASSES = 6
"""Of every image: its certificate (two, more with rounding), its adversarial point (three), plain torch."""


def require_time(model: CertifiedClassifier, images: int, seconds: float, what: str) -> None:
    """Raise ConfigError, which opens with ``what``, where so many ``images`` cannot be done with in time.

    Roughly, from below. On another device than the CPU forwards cost nothing, as far as this can tell.
    """
    forward, proof = network_work(model.layers, model.input_shape)
    passes = _PASSES * images if model.device.type == "cpu" else 0
    threads = torch.get_num_threads()
    needed = (proof + passes * forward) / (_PER_SECOND * threads)
    if needed > seconds:
        raise ConfigError(
            f"{what} is not verified: its proof and {images} images take about {_words(needed)} with {threads} threads "
            f"({proof:.1g} products, and {forward:.1g} for each pass of an image); {seconds:g} s are allowed, "
            "--time-limit (time_limit) allows more"
        )


def _words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
