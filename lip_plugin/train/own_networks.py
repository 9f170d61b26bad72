"""Estimates of the Lipschitz constants of a network of your own, as `lp.wrap` reads it, for your own training loop."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

import torch
from torch import Tensor, nn

from lip_plugin.certificates.arithmetic import certifying_arithmetic
from lip_plugin.certificates.together import scaled_layers
from lip_plugin.models.base import EstimatedMap
from lip_plugin.network import Head, LinearOperator, NormEstimates, Operator
from lip_plugin.network.shapes import trace_shapes
from lip_plugin.train.estimates import STEPS_PER_UPDATE, geometry, norm_estimates
from lip_plugin.train.estimates import EstimateState as EstimateState
from lip_plugin.train.row_distances import row_distances
from lip_plugin.types import Shape
from lip_plugin.wrapping import OwnNetwork


def pair_lipschitz_estimate(
    module: nn.Module,
    head: nn.Linear | None = None,
    *,
    input_shape: Shape,
    state: EstimateState | None = None,
    steps: int = STEPS_PER_UPDATE,
) -> Tensor:
    """(K, K) estimates of Lip(f_i - f_j) for `lp.losses`, differentiable in the weights. Never a certificate.

    Arguments as for `lp.wrap`; the estimate is that of the network which `lp.wrap` would freeze now, in whatever mode
    the module is: batch norm by its running statistics, parametrised weights at their current value. It comes to what
    `lp.pair_lipschitz_upper_bound` proves of that, with norms by ``steps`` steps of power iteration, hence from BELOW:
    a radius computed from it may be too large. Gradients take the singular vectors as fixed. At least float32, also
    under autocast; on the module's device, which is not waited for.

    ``state`` keeps the vectors between calls and is changed by them. The first call iterates longer, and compares the
    network with the module as `lp.wrap` does, so that what cannot be certified is said before training; without a state
    every call is a first one.

        state = lp.EstimateState()
        pair = lp.pair_lipschitz_estimate(features, head, input_shape=(3, 32, 32), state=state)
        lp.losses.emma_loss(head(features(x)), y, pair_lipschitz=pair, eps=eps).backward()

    Raises UnsupportedLayerError as `lp.wrap`, ConfigError for the state of another network.
    """
    state = EstimateState() if state is None else state
    network = OwnNetwork.of(module, head, input_shape)
    with _evaluating(network.modules.values()):
        if not state.compared:
            network.read(live=True)
            state.compared = True
        features, last, _ = network.layers(live=True)
        return _pair_estimate(features, last, network.shape, state, steps)


def _pair_estimate(
    features: Sequence[Operator], head: Head, input_shape: Shape, state: EstimateState, steps: int
) -> Tensor:
    shapes = trace_shapes((*features, head), input_shape)
    *path, last = scaled_layers((*features, head), shapes)
    assert last is not None
    kept = [(layer, shape) for layer, shape in zip(path, shapes, strict=False) if layer is not None]
    rows = last.tensors()["weight"]
    return path_estimate(kept, rows, state, steps) * row_distances(rows, rows)


def path_estimate(layers: Sequence[tuple[Operator, Shape]], like: Tensor, state: EstimateState, steps: int) -> Tensor:
    """The product of the estimates of operators, each with the shape it is given: a scalar beside ``like``."""
    norms = _Norms(like, state)
    _product(layers, norms)  # to hear what it asks for
    norms.known = iter(norm_estimates(norms.asked, state, steps))
    return _product(layers, norms)


def _product(layers: Sequence[tuple[Operator, Shape]], norms: NormEstimates) -> Tensor:
    return reduce(torch.mul, (layer.lipschitz_estimate(shape, norms) for layer, shape in layers), norms.one)


class _Norms:
    """Notes whose norms are asked for and answers 1, so that equal maps are iterated in one batch; once they are known,
    it answers the same questions in the same order.
    """

    def __init__(self, like: Tensor, state: EstimateState) -> None:
        self.one = torch.ones((), dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
        self.asked: list[EstimatedMap] = []
        self.known: Iterator[Tensor] | None = None
        self._constants = state.constants

    def of(self, operator: Operator, input_shape: Shape) -> Tensor:
        if self.known is not None:
            return next(self.known)
        assert isinstance(operator, LinearOperator)
        self.asked.append(EstimatedMap(operator, input_shape))
        return self.one

    def constant(self, operator: Operator, input_shape: Shape) -> Tensor:
        key = geometry(operator, input_shape)
        if key not in self._constants:
            with certifying_arithmetic():
                self._constants[key] = operator.lipschitz_upper_bound(input_shape).value
        return self.one * self._constants[key]


@contextmanager
def _evaluating(modules: Iterable[nn.Module]) -> Generator[None]:
    """In eval mode without autocast; then every part is in the mode that it was in."""
    modes = {part: part.training for module in modules for part in module.modules()}
    first = next((value for part in modes for value in part.parameters(recurse=False)), torch.empty(0))
    try:
        for part in modes:
            part.training = False
        with torch.autocast(first.device.type, enabled=False):
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
