"""Adaptive orthogonal convolutions against the product of their parts and by the SVD of the whole map."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from lip_plugin.models.layers.adaptive_conv import AdaptiveOrthogonalConv
from lip_plugin.models.layers.orthogonal import MatrixName, orthonormal
from lip_plugin.models.layers.patches import Patches
from lip_plugin.network import Conv, Operator
from lip_plugin.testing.jacobians import linear_matrix
from lip_plugin.types import Shape

Randn = Callable[..., Tensor]


class Case(NamedTuple):
    channels: int
    size: int
    outputs: int
    stride: int
    kernel: int

    @property
    def shape(self) -> Shape:
        return self.channels, self.size, self.size


SQUARE, FEWER, MORE = Case(4, 5, 4, 1, 3), Case(4, 6, 6, 2, 3), Case(2, 6, 10, 2, 3)
LONG, ODD, WRAPPED, GREY = Case(2, 6, 6, 3, 5), Case(3, 4, 5, 2, 2), Case(4, 2, 4, 1, 5), Case(1, 4, 3, 2, 3)
CASES = [SQUARE, FEWER, MORE, LONG, ODD, WRAPPED, GREY]


def layer(case: Case, randn: Randn, matrix: MatrixName = "bjorck") -> AdaptiveOrthogonalConv:
    """In float64 with every parameter away from where it starts."""
    built = AdaptiveOrthogonalConv(*case[:4], kernel=case.kernel, matrix=matrix).double()
    with torch.no_grad():
        for seed, value in enumerate(built.parameters()):
            value += 0.1 * randn(*value.shape, seed=seed)
    return built


def whole_map(built: AdaptiveOrthogonalConv, shape: Shape) -> Tensor:
    (conv,) = (operator for operator in built.freeze() if isinstance(operator, Conv))
    return linear_matrix(conv, shape)


def product_of_parts(built: AdaptiveOrthogonalConv, case: Case) -> Tensor:
    """Patches, pieces and the shift that centres the kernel, each as a matrix on maps whose pixels are one axis."""
    size, count = case.size, case.size**2
    ahead = torch.eye(size, dtype=torch.float64).roll(1, 1)  # takes the pixel after
    along = (torch.kron(torch.eye(size).double(), ahead), torch.kron(ahead, torch.eye(size).double()))
    whole = linear_matrix(Conv(Patches.merged_kernel(built), stride=(case.stride, case.stride)), case.shape)
    for index, base in enumerate(built.bases):
        columns = orthonormal(base, "bjorck")
        kept = columns @ columns.T
        rest = torch.eye(case.channels).double() - kept
        whole = whole @ (torch.kron(kept, torch.eye(count).double()) + torch.kron(rest, along[index % 2]))
    back = torch.linalg.matrix_power(ahead.T, built.kernel // 2)
    return whole @ torch.kron(torch.eye(case.channels).double(), torch.kron(back, back))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel_is_the_product_of_its_parts(case: Case, randn: Randn) -> None:
    built = layer(case, randn, "cayley")
    assert len(built.bases) == 2 * (min(case.kernel, case.size) - 1)
    with torch.no_grad():
        torch.testing.assert_close(whole_map(built, case.shape), product_of_parts(built, case), rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_singular_value_is_one(case: Case, randn: Randn) -> None:
    """Of the rows' number, or the columns' if fewer. The proof, from float32 weights, sees it as well."""
    built = layer(case, randn)
    values = torch.linalg.svdvals(whole_map(built, case.shape))
    assert len(values) == case.size**2 * min(case.channels, case.outputs / case.stride**2)
    assert 1 - 1e-7 < float(values.min()) <= float(values.max()) < 1 + 1e-12
    conv, _ = built.float().freeze()
    assert 1 - 1e-5 < conv.lipschitz_upper_bound(case.shape).value < 1 + 1e-5


def test_zero_padding_would_not_keep_norms(randn: Randn) -> None:
    conv, _ = layer(SQUARE, randn).freeze()
    assert isinstance(conv, Conv)
    cut = Conv(conv.weight, stride=conv.stride, padding=conv.padding)
    assert float(torch.linalg.svdvals(linear_matrix(cut, SQUARE.shape)).min()) < 0.9


def test_a_map_that_patches_do_not_tile(randn: Randn) -> None:
    """It is zero-padded before it is taken for a circle: the frozen operators are the layer, and no norm grows."""
    case = Case(4, 7, 6, 2, 3)
    built, x = layer(case, randn), randn(2, *case.shape, seed=9)

    def run(operators: tuple[Operator, ...], value: Tensor) -> Tensor:
        for operator in operators:
            value = operator.apply(value)
        return value

    with torch.no_grad():
        pad, conv, activation = built.freeze()
        torch.testing.assert_close(built(x), run((pad, conv, activation), x), rtol=0, atol=1e-12)
        units = torch.eye(4 * 49).double().view(-1, *case.shape)
        images = run((pad, conv), units) - built.bias[:, None, None]
    exact = float(torch.linalg.svdvals(images.flatten(1))[0])
    bound = conv.lipschitz_upper_bound(pad.output_shape(case.shape)).value
    assert 0.9 < exact <= bound < 1 + 1e-8
