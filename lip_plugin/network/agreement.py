"""Whether a plain network and the module that it was made from are one function, tried on random images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.classifier import CertifiedClassifier
from lip_plugin.network.float64 import float64_function
from lip_plugin.types import Shape

Function = Callable[[Tensor], Tensor]
"""(B, ...) -> (B, ...), image by image."""

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_FAR = 1e3
"""Images in float64 reach so far, where limits are passed that no pixel does: a clamp left out shows there alone."""
_FAR_TOLERANCE = 1e-2
"""Steep bounded functions see the rounding of folded weights there."""


def require_same_function(
    name: str,
    run: Function,
    classifier: CertifiedClassifier,
    *,
    dtype: torch.dtype,
    after: Function | None = None,
) -> None:
    """`require_agreement` of a module and the network that was made from it.

    ``run`` takes images of ``dtype`` on the classifier's device; ``after`` is what it does to logits at its end.
    """
    ours = float64_function(classifier) if dtype == torch.float64 else classifier
    function = ours if after is None else lambda x: after(ours(x))
    require_agreement(name, run, function, shape=classifier.input_shape, dtype=dtype, device=classifier.device)


def require_agreement(
    name: str, run: Function, ours: Function, *, shape: Shape, dtype: torch.dtype, device: torch.device
) -> None:
    """Raise UnsupportedLayerError unless both agree on random images of several scales, by ones and threes.

    Differences count beside how much the results differ between images, so that large biases do not hide them; rounding
    beside the results themselves. Only float32 and float64 are compared.
    """
    for x, tolerance in _images(shape, dtype, device) if dtype in _TOLERANCE else ():
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            try:
                expected = run(x.clone())  # which it may overwrite
            except RuntimeError as error:
                raise UnsupportedLayerError(
                    f"{name} cannot run {len(x)} images of shape {shape} "
                    f"({str(error).splitlines()[0]}); does it fix the batch size, or was a submodule changed?"
                ) from error
            found = ours(x)
        _require_close(name, expected, found, tolerance)


def _images(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[tuple[Tensor, float]]:
    """With the tolerance of results on them."""
    generator = torch.Generator("cpu").manual_seed(0)
    near, far = _TOLERANCE[dtype], [(3, -_FAR, _FAR, _FAR_TOLERANCE)] if dtype == torch.float64 else []
    close = [(3, 0.0, 1.0, near), (1, 0.0, 1.0, near), (3, -1.0, 2.0, near), (3, -8.0, 8.0, near)]
    for count, low, high, tolerance in (*close, *far):
        unit = torch.rand(count, *shape, generator=generator, device="cpu", dtype=torch.float64)
        yield (low + (high - low) * unit).to(device, dtype), tolerance


def _require_close(name: str, expected: Tensor, found: Tensor, tolerance: float) -> None:
    if expected.shape != found.shape:
        raise UnsupportedLayerError(
            f"{name} gives {tuple(expected.shape)} where its frozen network gives {tuple(found.shape)}; "
            "expected logits (B, K), image by image"
        )
    expected, found = expected.flatten(1), found.flatten(1)
    finite = torch.isfinite(expected).all(dim=1)  # others overflow, or the weights have no bound: refused where asked
    expected, found = expected[finite], found[finite]
    if not len(expected):
        return
    spread = (expected - expected.mean(dim=0)).abs().max() if len(expected) > 1 else expected.abs().max()
    allowed = tolerance * (spread + 0.1 * expected.abs().max())
    off = (found - expected).abs().max()
    if not bool(off <= allowed):
        raise UnsupportedLayerError(
            f"{name} computes another function than its frozen network (results differ by {float(off):.3g} on random "
            "images); was a submodule exchanged, or does its forward depend on something else than the image?"
        )
