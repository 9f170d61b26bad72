"""Each layer of the comparison against its paper's formula, on the explicit matrix of its convolution."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.certificates import lipschitz_upper_bound
from lip_plugin.models import freeze, maps_along
from lip_plugin.models.comparison import Comparison, ComparisonConfig
from lip_plugin.models.layers.blocks import BLOCKS
from lip_plugin.models.layers.blocks.aol import AolBlock
from lip_plugin.models.layers.blocks.cayley import CayleyBlock
from lip_plugin.models.layers.blocks.circular import CircularBlock
from lip_plugin.models.layers.blocks.gram import conv_norm_from_above, norm_from_above
from lip_plugin.models.layers.blocks.lot import LotBlock
from lip_plugin.models.layers.blocks.potential import CplBlock, PotentialBlock, SllBlock
from lip_plugin.models.layers.blocks.soc import REST, SocBlock
from lip_plugin.network import CertifiedClassifier, Conv, ConvexPotential, LinearOperator
from lip_plugin.testing.jacobians import largest_singular_value, linear_matrix
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.state import initial_state
from lip_plugin.train.step import train_step

CHANNELS = 4
SHAPE = (3, 8, 8)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def circular_matrix(weight: Tensor, size: int) -> Tensor:
    """Of the circular convolution (O, I, k, k), its middle at k // 2, column by column."""
    side, before = weight.shape[-1], weight.shape[-1] // 2
    after = side - 1 - before
    basis = torch.eye(weight.shape[1] * size**2, dtype=weight.dtype).view(-1, weight.shape[1], size, size)
    images = F.conv2d(F.pad(basis, (before, after, before, after), mode="circular"), weight)
    return images.flatten(1).T


def frozen_matrix(block: CircularBlock) -> Tensor:
    """Of what it freezes into, bias and MinMax left out."""
    linear = block.freeze()[0]
    assert isinstance(linear, LinearOperator)
    return linear_matrix(linear, (block.channels, block.size, block.size))


def polar(matrix: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(matrix)
    return u @ vh


def cayley(block: CayleyBlock, matrix: Tensor) -> Tensor:
    matrix = matrix * (block.gain / block.weight.norm())
    skew, identity = matrix - matrix.T, torch.eye(len(matrix), dtype=matrix.dtype)
    return torch.linalg.inv(identity + skew) @ (identity - skew)


def exponential(_: SocBlock, matrix: Tensor) -> Tensor:
    return torch.matrix_exp(matrix - matrix.T)


FORMULAS: dict[type[CircularBlock], tuple[Callable[..., Tensor], float, float]] = {
    # kernel -> what the whole layer's matrix must be; the kernel's scale; how far entries may be off
    CayleyBlock: (cayley, 1.0, 1e-12),
    SocBlock: (exponential, 0.01, 1e-6),
    LotBlock: (lambda _, matrix: polar(matrix), 0.03, 1e-6),
}


@pytest.mark.parametrize("size", [1, 2, 5, 6])
@pytest.mark.parametrize("kind", FORMULAS)
def test_circular_layers_are_their_formula(kind: type[CircularBlock], size: int) -> None:
    """The Fourier domain is nowhere in the reference. Kernels with an even side too: no direction is special."""
    formula, scale, tolerance = FORMULAS[kind]
    block = kind(CHANNELS, size, 3).double()
    with torch.no_grad():
        noise = scale * draw(*block.weight.shape)
        block.weight.copy_(block.weight + noise if kind is LotBlock else noise)
        expected = formula(block, circular_matrix(block.weight, size))
        assert torch.allclose(frozen_matrix(block), expected, atol=tolerance)
        assert torch.allclose(expected @ expected.T, torch.eye(len(expected), dtype=torch.float64), atol=1e-10)
        x = draw(2, CHANNELS, size, size, seed=1)
        middle = len(x[0]) // 2
        plain = (x.flatten(1) @ expected.T).view_as(x) + block.bias[:, None, None]
        first, second = plain.split(middle, 1)
        sorted_pairs = torch.cat([torch.maximum(first, second), torch.minimum(first, second)], 1)
        assert torch.allclose(block(x), sorted_pairs, atol=10 * tolerance)


def test_soc_stays_orthogonal_where_it_is_scaled_down() -> None:
    block = SocBlock(CHANNELS, 5, 3).double()
    with torch.no_grad():
        block.weight.copy_(20 * draw(*block.weight.shape))
        values = torch.linalg.svdvals(frozen_matrix(block))
    assert 1 - REST <= float(values.min()) <= float(values.max()) <= 1 + REST


def test_lot_never_exceeds_one() -> None:
    """A kernel near rank one keeps small singular values below 1 after ten steps; none passes 1."""
    block = LotBlock(CHANNELS, 5, 3).double()
    with torch.no_grad():
        block.weight.copy_(draw(*block.weight.shape) + 30.0)
        values = torch.linalg.svdvals(frozen_matrix(block))
    assert float(values.min()) < 0.5 and float(values.max()) <= 1 + 1e-12


def test_aol_divides_by_the_row_sums_of_the_gram_matrix() -> None:
    """On a map that holds every shift, the sums of |K^T K| of one channel are those of one of its pixels."""
    block = AolBlock(CHANNELS, 7, 3).double()
    with torch.no_grad():
        block.weight.copy_(draw(*block.weight.shape))
        whole = circular_matrix(block.weight, 7)
        sums = (whole.T @ whole).abs().sum(1).view(CHANNELS, -1)[:, 0]
        assert torch.allclose(block.merged_weight(), block.weight / sums.sqrt()[:, None, None], rtol=1e-12)
        conv, _ = block.freeze()
        assert isinstance(conv, Conv)
        padded = linear_matrix(conv, (CHANNELS, 7, 7))
    assert 0.3 < float(torch.linalg.svdvals(padded)[0]) <= 1.0


def test_aol_keeps_a_channel_that_nothing_reads() -> None:
    block = AolBlock(CHANNELS, 4, 3)
    with torch.no_grad():
        block.weight[:, 1] = 0.0
    block(torch.rand(1, CHANNELS, 4, 4)).sum().backward()
    assert block.weight.grad is not None and bool(block.weight.grad.isfinite().all())
    assert not bool(block.merged_weight()[:, 1].any())


@pytest.mark.parametrize("shape", [(1, 6, 3), (3, 3, 6), (7, 5, 5)])
def test_gram_iteration_is_just_above_the_norm(shape: tuple[int, ...]) -> None:
    matrices = torch.complex(draw(*shape), draw(*shape, seed=1))
    exact = float(torch.linalg.svdvals(matrices).max())
    assert exact * (1 - 1e-12) <= float(norm_from_above(matrices)) <= exact * min(shape[1:]) ** (1 / 128) * (1 + 1e-12)
    tiny = float(norm_from_above(1e-9 * matrices))
    assert tiny == pytest.approx(1e-9 * float(norm_from_above(matrices)), rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 6, 3), (3, 3, 6), (7, 5, 5)])
def test_its_gradient_is_that_of_the_norm(shape: tuple[int, ...]) -> None:
    """Of the largest matrix alone: u v^H of its leading singular vectors."""
    matrices = torch.complex(draw(*shape), draw(*shape, seed=1)).requires_grad_()
    (found,) = torch.autograd.grad(norm_from_above(matrices), matrices)
    with torch.no_grad():
        u, values, vh = torch.linalg.svd(matrices, full_matrices=False)
        largest = int(values[:, 0].argmax())
        expected = torch.zeros_like(found)
        expected[largest] = u[largest, :, :1] @ vh[largest, :1]
    assert torch.allclose(found, expected, atol=1e-3)
    zero = torch.zeros(shape, requires_grad=True)
    (flat,) = torch.autograd.grad(norm_from_above(zero), zero)
    assert bool(flat.isfinite().all())


@pytest.mark.parametrize("size", [1, 2, 6])
def test_conv_norm_covers_zero_padding(size: int) -> None:
    """It is the norm on a circular map with room for every shift, but for what the iteration adds."""
    side = 1 if size == 1 else 3
    weight = draw(CHANNELS, CHANNELS, side, side)
    basis = torch.eye(CHANNELS * size**2, dtype=torch.float64).view(-1, CHANNELS, size, size)
    exact = float(torch.linalg.svdvals(F.conv2d(basis, weight, padding=side // 2).flatten(1))[0])
    around = float(torch.linalg.svdvals(circular_matrix(weight, size + side - 1))[0])
    assert exact <= around <= float(conv_norm_from_above(weight, size)) * (1 + 1e-12) <= 1.02 * around


def potential(kind: type[PotentialBlock], size: int, seed: int = 0) -> PotentialBlock:
    block = kind(CHANNELS, size, 3).double()
    with torch.no_grad():
        for name, value in block.named_parameters():
            value.copy_(draw(*value.shape, seed=seed + len(name)))
    return block


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("kind", [CplBlock, SllBlock])
def test_potential_steps_keep_norms(kind: type[PotentialBlock], size: int) -> None:
    """By the explicit matrix: ||diag(g)^(1/2) W||^2 <= 2, hence the proved constant is 1 exactly; and not far below."""
    for seed in range(20):
        block = potential(kind, size, seed)
        with torch.no_grad():
            basis = torch.eye(CHANNELS * size**2, dtype=torch.float64).view(-1, CHANNELS, size, size)
            matrix = F.conv2d(basis, block.weight, padding=1).flatten(1).T
            root = block.scale().repeat_interleave(size**2).sqrt()
            square = float(torch.linalg.matrix_norm(root[:, None] * matrix, 2)) ** 2
            assert 0.05 < square <= 2.0
            (step,) = block.freeze()
            assert step.lipschitz_upper_bound((CHANNELS, size, size)).value == 1.0


def test_sll_divides_by_weighted_row_sums_of_the_gram_matrix() -> None:
    """On a map that holds every shift: T_i q_i is the row sum of |W W^T| diag(q)."""
    block = potential(SllBlock, 7)
    assert isinstance(block, SllBlock)
    with torch.no_grad():
        whole = circular_matrix(block.weight, 7)
        q = block.log_q.exp().repeat_interleave(49)
        sums = ((whole @ whole.T).abs() @ q / q).view(CHANNELS, -1)[:, 0]
        assert torch.allclose(block.scale(), 2 / sums, rtol=1e-12)


def test_an_epsilon_in_the_quotients_is_not_proved() -> None:
    """The error of the first published code: q_j / (q_i + epsilon) makes T too small where q is; the bound sees it."""
    block = potential(SllBlock, 5)
    assert isinstance(block, SllBlock)
    with torch.no_grad():
        block.log_q.fill_(-12.0)
        q = block.log_q.exp()
        wrong = block.scale() * (q + 1e-4) / q
        (honest,) = block.freeze()
        assert isinstance(honest, ConvexPotential)
        step = ConvexPotential(block.weight, block.bias, wrong, (1, 1))
        shape = (CHANNELS, 5, 5)
        x = torch.zeros(1, *shape, dtype=torch.float64)
        found = largest_singular_value(ConvexPotential(block.weight, block.bias + 100, wrong, (1, 1)), x[0])
    assert honest.lipschitz_upper_bound(shape).value == 1.0
    assert 1.5 < found <= step.lipschitz_upper_bound(shape).value


@pytest.mark.parametrize("kind", [CplBlock, SllBlock])
def test_a_step_without_weights_is_the_identity(kind: type[PotentialBlock]) -> None:
    block = kind(CHANNELS, 4, 3)
    with torch.no_grad():
        block.weight.zero_()
    x = torch.rand(1, CHANNELS, 4, 4)
    y = block(x)
    y.sum().backward()
    assert torch.equal(y, x)
    assert all(value.grad is None or bool(value.grad.isfinite().all()) for value in block.parameters())
    (step,) = block.freeze()
    assert torch.equal(step.apply(x), x) and step.lipschitz_upper_bound((CHANNELS, 4, 4)).value == 1.0


def trained(words: dict[str, str]) -> CertifiedClassifier:
    """Ten steps at a large learning rate on noise, frozen: the stored float32 weights alone."""
    sizes = {"depth": 2, "width": 16, "stages": 2, "patch": 2, "dense_width": 32, "dense_depth": 1}
    config = TrainConfig.model_validate(
        {
            "dataset": "cifar10",
            "model": ComparisonConfig.model_validate({**words, **sizes}),
            "eps": 0.1,
            "epochs": 1,
            "learning_rate": 0.02,
        }
    )
    state = initial_state(config, input_shape=SHAPE, num_classes=4)
    x, y = torch.rand(32, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 4
    for _ in range(10):
        train_step(config, state, x, y, config.eps)
    assert isinstance(state.model, Comparison)
    return freeze(state.model)


@pytest.mark.parametrize("block", sorted(BLOCKS.keys() - {"gloro"}))
def test_proved_bound_after_training_is_one(block: str) -> None:
    bound = lipschitz_upper_bound(trained({"block": block}))
    assert bound.value <= 1.01
    assert block == "aol" or bound.value >= 0.99


@pytest.mark.parametrize("matrix", ["bjorck", "cayley", "exponential"])
def test_orthogonal_parts_stay_within_a_ten_thousandth(matrix: str) -> None:
    """All eight together by the proof, and each one's smallest and largest singular values."""
    network = trained({"block": "aoc", "downsampling": "aoc", "matrix": matrix})
    assert 1 - 1e-4 < lipschitz_upper_bound(network).value < 1 + 1e-4
    maps = maps_along(network.operators, network.input_shape)
    values = [torch.linalg.svdvals(linear_matrix(one.operator, one.input_shape)) for one in maps]
    assert len(values) == 8
    assert all(1 - 1e-4 < float(own.min()) <= float(own.max()) < 1 + 1e-4 for own in values)
