"""Whether a plain network and the module that it was made from are one function, tried on random images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.classifier import CertifiedClassifier
from lip_plugin.network.float64 import float64_function

Logits = Callable[[Tensor], Tensor]
"""(B, C, H, W) -> (B, K)."""

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}


def require_same_function(
    name: str,
    run: Logits,
    classifier: CertifiedClassifier,
    *,
    dtype: torch.dtype,
    after: Logits | None = None,
) -> None:
    """Raise UnsupportedLayerError unless both agree on random images of several scales, by ones and threes.

    ``run`` takes images of ``dtype`` on the classifier's device; ``after`` is what it does to logits at its end.
    Differences count beside how much the logits differ between images, so that large biases do not hide them; rounding
    beside the logits themselves.
    """
    ours = float64_function(classifier) if dtype == torch.float64 else classifier
    for x in _images(classifier, dtype):
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            try:
                expected = run(x.clone())  # which it may overwrite
            except RuntimeError as error:
                raise UnsupportedLayerError(
                    f"{name} cannot run {len(x)} images of shape {classifier.input_shape} "
                    f"({str(error).splitlines()[0]}); does it fix the batch size, or was a submodule changed?"
                ) from error
            found = ours(x) if after is None else after(ours(x))
        _require_close(name, expected, found, _TOLERANCE[dtype])


def _images(classifier: CertifiedClassifier, dtype: torch.dtype) -> Iterator[Tensor]:
    generator = torch.Generator("cpu").manual_seed(0)
    for count, low, high in ((3, 0.0, 1.0), (1, 0.0, 1.0), (3, -1.0, 2.0), (3, -8.0, 8.0)):
        unit = torch.rand(count, *classifier.input_shape, generator=generator, device="cpu", dtype=torch.float64)
        yield (low + (high - low) * unit).to(classifier.device, dtype)


def _require_close(name: str, expected: Tensor, found: Tensor, tolerance: float) -> None:
    if expected.shape != found.shape:
        raise UnsupportedLayerError(
            f"{name} gives {tuple(expected.shape)} where its frozen network gives {tuple(found.shape)}; "
            "expected logits (B, K), image by image"
        )
    finite = torch.isfinite(expected).all(dim=1)  # others overflow, or the weights have no bound: refused where asked
    expected, found = expected[finite], found[finite]
    if not len(expected):
        return
    spread = (expected - expected.mean(dim=0)).abs().max() if len(expected) > 1 else expected.abs().max()
    allowed = tolerance * (spread + 0.1 * expected.abs().max())
    off = (found - expected).abs().max()
    if not bool(off <= allowed):
        raise UnsupportedLayerError(
            f"{name} computes another function than its frozen network (logits differ by {float(off):.3g} on random "
            "images); was a submodule exchanged, or does its forward depend on something else than the image?"
        )
