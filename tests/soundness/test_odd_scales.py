"""Networks in which float32 is another function: no radius on an image that ``model(x)`` sees otherwise.

And inside the radius of a certificate of the forward neither forward changes its mind.
LIP_ODD_NETWORKS makes it longer.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.network import float64_function

from .odd_networks import SHAPE, odd_network

COUNT = int(os.environ.get("LIP_ODD_NETWORKS", "150"))
IMAGES = 12


def _certificates(model: lp.CertifiedClassifier, x: Tensor) -> dict[str, lp.Certificate]:
    found: dict[str, lp.Certificate] = {}
    for name in ("real", "float64", "float32", "forward"):
        try:
            found[name] = lp.certify(model, x, arithmetic=name)
        except (lp.ConfigError, lp.DataError, lp.UnsupportedLayerError):
            continue  # weights or activations that overflow: refused in one line
    return found


def _labels(model: lp.CertifiedClassifier, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By the forward on the batch, by the forward image by image, and by float64."""
    with torch.no_grad():
        alone = torch.cat([model(point[None]) for point in points]).argmax(1)
        return model(points).argmax(1), alone, float64_function(model)(points).argmax(1)


def _points_inside(model: lp.CertifiedClassifier, x: Tensor, certificate: lp.Certificate) -> list[Tensor]:
    """float32 points strictly inside the radii: up the gradients of both forwards, and at random."""
    directions = [torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).double() for seed in range(2)]
    rows = torch.arange(len(x))
    for function in (model, float64_function(model)):
        z = x.clone().requires_grad_(True)
        logits = function(z)
        top, second = logits.topk(2, 1).indices.T
        (gradient,) = torch.autograd.grad((logits[rows, second] - logits[rows, top]).sum(), z)
        directions.append(torch.nan_to_num(gradient.double(), nan=0.0, posinf=1.0, neginf=-1.0))
    points: list[Tensor] = []
    for direction in directions:
        norm = direction.flatten(1).norm(dim=1).clamp_min(1e-300)
        for share in (0.5, 1.0 - 1e-6):
            length = (share * certificate.radius / norm).view(-1, 1, 1, 1)
            point = (x.double() + (length * direction).nan_to_num(0.0, 0.0, 0.0)).float()
            far = (point.double() - x.double()).flatten(1).norm(dim=1) >= certificate.radius
            points.append(torch.where(far.view(-1, 1, 1, 1), x, point))
    return points


def test_no_radius_where_the_forward_disagrees_and_none_that_either_forward_leaves() -> None:
    x = torch.rand(IMAGES, *SHAPE, generator=torch.Generator().manual_seed(0))
    networks = positive = disagreeing = of_forward = tried = 0
    for seed in range(COUNT):
        model = odd_network(seed)
        if model is None:
            continue
        networks += 1
        certificates = _certificates(model, x)
        batch, alone, _ = _labels(model, x)
        for name, certificate in certificates.items():
            certified = certificate.radius > 0
            positive += int(certified.sum())
            disagreeing += int(certificate.disagrees.sum())
            for labels in (batch, alone):
                assert not bool((certified & (labels != certificate.prediction)).any()), (seed, name)
        forward = certificates.get("forward")
        if forward is None:
            continue
        of_forward += int((forward.radius > 0).sum())
        for points in _points_inside(model, x, forward):
            tried += len(points)
            for labels in _labels(model, points):
                assert not bool(((forward.radius > 0) & (labels != forward.prediction)).any()), seed
    # Else there was nothing to find, or nothing left to defend.
    assert networks > 0.6 * COUNT and positive > COUNT and disagreeing > 0.5 * COUNT
    assert of_forward > COUNT and tried > 10 * COUNT
