"""The parametrisations: centering, Cholesky orthogonalisation, MinMax and the normalised head, each another way."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.models import CertifiableModel, LiResNetPP
from lip_plugin.models.base import EstimatedMap
from lip_plugin.models.layers.cholesky import cholesky_orthogonal
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.minmax import MinMax
from lip_plugin.models.layers.neck import OrthogonalNeck, patch_padding
from lip_plugin.models.layers.residual import OrthogonalDenseStack, ResidualConvStack
from lip_plugin.models.layers.stem import Stem, stem_geometry

Randn = Callable[..., Tensor]


def _sorted_pairs(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.cat([torch.max(a, b), torch.min(a, b)], dim=1)


def _stack(centering: bool) -> ResidualConvStack:
    torch.manual_seed(0)
    stack = ResidualConvStack(3, 4, centering=centering).double()
    with torch.no_grad():
        for value in [*stack.parameters(), *stack.buffers()]:
            value += 0.3 * torch.randn_like(value)
    return stack


def _two_convolutions(stack: ResidualConvStack, x: Tensor, means: list[Tensor] | None) -> Tensor:
    """x + (branch - mean) + bias with the branch as its own convolution; means None: those of the batch."""
    for block in range(stack.depth):
        kernel = stack.depth**-0.5 * stack.gamma[block] * stack.weights[block]
        branch = F.conv2d(x, kernel, padding=1)
        mean = branch.mean((0, 2, 3)) if means is None else means[block]
        x = _sorted_pairs(x + branch - mean.view(-1, 1, 1) + stack.bias[block].view(-1, 1, 1))
    return x


def _branch_means(stack: ResidualConvStack, x: Tensor) -> list[Tensor]:
    means: list[Tensor] = []
    for block in range(stack.depth):
        kernel = stack.depth**-0.5 * stack.gamma[block] * stack.weights[block]
        branch = F.conv2d(x, kernel, padding=1)
        means.append(branch.mean((0, 2, 3)).detach())
        x = _sorted_pairs(x + branch - means[-1].view(-1, 1, 1) + stack.bias[block].view(-1, 1, 1))
    return means


def test_centering_in_training_subtracts_the_batch_mean_of_the_branch(randn: Randn) -> None:
    stack, x = _stack(centering=True), randn(5, 4, 6, 6)
    before, means = stack.running_mean.clone(), _branch_means(stack, x)
    reference = _two_convolutions(stack, x, None)
    found = stack.train()(x)
    assert torch.allclose(found, reference, rtol=1e-11, atol=1e-12)
    assert torch.allclose(stack.running_mean, 0.9 * before + 0.1 * torch.stack(means), rtol=1e-11, atol=1e-12)
    direction = randn(5, 4, 6, 6, seed=1)
    ours = torch.autograd.grad((found * direction).sum(), list(stack.parameters()))
    theirs = torch.autograd.grad((reference * direction).sum(), list(stack.parameters()))
    for a, b in zip(ours, theirs, strict=True):  # the mean carries gradient too
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)


def test_centering_in_evaluation_subtracts_the_running_mean(randn: Randn) -> None:
    stack, x = _stack(centering=True).eval(), randn(5, 4, 6, 6)
    before = stack.running_mean.clone()
    assert torch.allclose(stack(x), _two_convolutions(stack, x, list(before)), rtol=1e-11, atol=1e-12)
    assert torch.equal(stack.running_mean, before)
    for block in range(3):  # the merged bias is all that evaluation needs
        x = _sorted_pairs(
            F.conv2d(x, stack.merged_weights()[block], padding=1) + stack.merged_bias()[block].view(-1, 1, 1)
        )
    assert torch.allclose(x, _two_convolutions(stack, randn(5, 4, 6, 6), list(before)), rtol=1e-11, atol=1e-12)


def test_without_centering_no_mean_is_kept_or_used(randn: Randn) -> None:
    stack, x = _stack(centering=False).train(), randn(5, 4, 6, 6)
    before, zeros = stack.running_mean.clone(), [torch.zeros(4, dtype=torch.float64)] * 3
    assert torch.allclose(stack(x), _two_convolutions(stack, x, zeros), rtol=1e-11, atol=1e-12)
    assert torch.equal(stack(x), stack.eval()(x))
    assert torch.equal(stack.running_mean, before)


def test_running_mean_converges_to_the_batch_mean(randn: Randn) -> None:
    stack, x = _stack(centering=True).train(), randn(5, 4, 6, 6)
    means = torch.stack(_branch_means(stack, x))
    with torch.no_grad():
        for _ in range(200):
            stack(x)
    assert torch.allclose(stack.running_mean, means, atol=1e-8)
    assert torch.allclose(stack.eval()(x), stack.train()(x), atol=1e-7)


@pytest.mark.parametrize("shape", [(4, 9), (6, 6), (7, 3), (2, 5, 8)])
def test_cholesky_orthogonal_rows(shape: tuple[int, ...], randn: Randn) -> None:
    """W W^T = I - eps C^{-1} C^{-T}, and the singular values of W are sqrt(s / (s + eps)) of X X^T's eigenvalues s."""
    x = randn(*shape) * torch.logspace(0, 1, shape[-2], dtype=torch.float64)[:, None]
    w = cholesky_orthogonal(x)
    for one, found in zip(x.reshape(-1, *shape[-2:]), w.reshape(-1, *shape[-2:]), strict=True):
        gram = one @ one.T
        ridge = 1e-3 * gram.trace() / len(gram)
        inverse = torch.linalg.inv(torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), dtype=torch.float64)))
        assert torch.allclose(found, inverse @ one, rtol=1e-9, atol=1e-11)
        identity = torch.eye(len(gram), dtype=torch.float64)
        assert torch.allclose(found @ found.T, identity - ridge * inverse @ inverse.T, rtol=1e-9, atol=1e-9)
        s = torch.linalg.svdvals(one) ** 2
        assert torch.allclose(torch.linalg.svdvals(found), torch.sqrt(s / (s + ridge)), rtol=1e-8, atol=1e-8)
        assert float(torch.linalg.svdvals(found)[0]) < 1


def test_cholesky_is_differentiable_and_ignores_autocast(randn: Randn) -> None:
    x = randn(3, 4).requires_grad_(True)
    assert torch.autograd.gradcheck(cholesky_orthogonal, (x,))
    single = randn(6, 8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = cholesky_orthogonal(single)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, cholesky_orthogonal(single))


@pytest.mark.parametrize("shape", [(2, 3, 5), (4, 4), (5, 3), (2, 2, 1, 6), (40, 64)])
def test_the_gradient_of_cholesky_is_that_of_its_steps(shape: tuple[int, ...], randn: Randn) -> None:
    """Against automatic differentiation of every step, and of the ridge; rows of very different lengths as well."""
    x = (randn(*shape) * torch.logspace(-2, 2, shape[-2], dtype=torch.float64)[:, None]).requires_grad_(True)
    gram = x @ x.mT
    ridge = 1e-3 * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    factor = torch.linalg.cholesky(gram + ridge * torch.eye(shape[-2], dtype=torch.float64))
    steps = torch.linalg.inv(factor) @ x
    found = cholesky_orthogonal(x)
    torch.testing.assert_close(found, steps, rtol=0, atol=1e-10)
    pull = randn(*shape, seed=1)
    ours, theirs = (torch.autograd.grad((value * pull).sum(), x)[0] for value in (found, steps))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9 * float(theirs.abs().max()))
    assert theirs.any()


def test_a_second_derivative_of_cholesky_is_refused(randn: Randn) -> None:
    x = randn(3, 4).requires_grad_(True)
    (first,) = torch.autograd.grad(cholesky_orthogonal(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_minmax_function_against_autograd(randn: Randn) -> None:
    """Away from ties; the derivative of the derivative as well."""
    for shape in [(3, 6, 2, 2), (4, 8)]:
        x = randn(*shape, seed=len(shape)).requires_grad_(True)
        module = MinMax()
        assert torch.equal(module(x), _sorted_pairs(x))
        assert torch.autograd.gradcheck(module, (x,))
        assert torch.autograd.gradgradcheck(module, (x,))
        direction = randn(*shape, seed=9)
        (ours,) = torch.autograd.grad((module(x) * direction).sum(), x)
        (theirs,) = torch.autograd.grad((_sorted_pairs(x) * direction).sum(), x)
        assert torch.equal(ours, theirs)


def test_minmax_keeps_the_gradient_norm_on_ties(randn: Randn) -> None:
    half = randn(2, 3, 2, 2)
    x = torch.cat([half, half], dim=1).requires_grad_(True)
    direction = randn(2, 6, 2, 2, seed=1)
    (gradient,) = torch.autograd.grad((MinMax()(x) * direction).sum(), x)
    assert torch.equal(gradient, direction)


def test_head_rows_have_norm_one_and_the_bias_is_untouched(randn: Randn) -> None:
    head = NormalizedHead(7, 4).double()
    with torch.no_grad():
        head.weight.copy_(randn(4, 7) * torch.tensor([1e-3, 1.0, 5.0, 1e4], dtype=torch.float64)[:, None])
        head.bias.copy_(randn(4, seed=1))
    assert torch.allclose(head.merged_weight().norm(dim=1), torch.ones(4, dtype=torch.float64), rtol=1e-14)
    h = randn(2, 7, seed=2)
    rows = list(zip(head.weight.detach(), head.bias.detach(), strict=True))
    expected = [[float(x @ w / w.square().sum().sqrt() + b) for w, b in rows] for x in h]
    assert torch.allclose(head(h), torch.tensor(expected, dtype=torch.float64), rtol=1e-12)


def test_dense_stack_residual_and_empty(randn: Randn) -> None:
    torch.manual_seed(1)
    stack = OrthogonalDenseStack(2, 6).double()
    with torch.no_grad():
        for value in stack.parameters():
            value += 0.2 * torch.randn_like(value)
    x = expected = randn(3, 6)
    for block in range(2):
        plain = torch.eye(6, dtype=torch.float64) + stack.gamma[block] * stack.weights[block] / 2**0.5
        expected = _sorted_pairs(expected @ cholesky_orthogonal(plain).T + stack.bias[block])
    assert torch.allclose(stack(x), expected, rtol=1e-11, atol=1e-12)
    assert OrthogonalDenseStack(0, 6)(x) is x


@pytest.mark.parametrize(
    ("size", "patch", "padding"), [(14, 2, (0, 0)), (14, 4, (1, 1)), (15, 4, (0, 1)), (3, 5, (1, 1))]
)
def test_neck_drops_no_pixel(size: int, patch: int, padding: tuple[int, int], randn: Randn) -> None:
    assert patch_padding(size, patch) == padding
    torch.manual_seed(0)
    neck = OrthogonalNeck(2, size, 8, patch=patch).double()
    x = randn(1, 2, size, size).requires_grad_(True)
    (gradient,) = torch.autograd.grad(neck(x).square().sum(), x)
    assert (gradient.abs().sum((0, 1)) > 0).all()
    for weight in (neck.merged_kernel().detach().flatten(1), neck.merged_weight().detach()):
        assert float(torch.linalg.svdvals(weight)[0]) < 1


@pytest.mark.parametrize(
    ("shape", "width", "at_64", "expected"),
    [
        ((1, 28, 28), 32, True, (5, 2, 2)),
        ((3, 32, 32), 512, False, (5, 2, 2)),
        ((3, 64, 64), 512, True, (7, 4, 3)),
        ((3, 64, 64), 512, False, (5, 2, 2)),
        ((3, 224, 224), 588, True, (14, 14, 0)),
        ((3, 224, 224), 588, False, (14, 14, 0)),
    ],
)
def test_stems_of_the_papers(
    shape: tuple[int, int, int], width: int, at_64: bool, expected: tuple[int, int, int], randn: Randn
) -> None:
    geometry = stem_geometry(shape, width, stride_4_at_64=at_64)
    assert (geometry.kernel, geometry.stride, geometry.padding) == expected
    torch.manual_seed(0)
    small = Stem(shape[0], 4, geometry).double()
    x = randn(1, *shape)
    out = small(x)
    assert out.shape[2] == geometry.output_size(shape[1])
    assert torch.allclose(out, _sorted_pairs(small.conv(x - 0.5)), rtol=1e-12, atol=1e-12)


def test_estimated_maps_are_the_convolutions_that_act(small_model: CertifiableModel) -> None:
    """Weights that carry gradient, equal to the frozen ones; the maps left out are contractions."""
    frozen = [op for op in small_model.freeze_operators() if "weight" in op.tensors()]
    maps: tuple[EstimatedMap, ...] = small_model.estimated_maps()
    weights = [op.tensors()["weight"].detach() for op in frozen]
    assert len(maps) == (3 if isinstance(small_model, LiResNetPP) else len(weights))
    for estimated, weight in zip(maps, weights, strict=False):
        assert torch.equal(estimated.operator.tensors()["weight"], weight)
        assert estimated.operator.tensors()["weight"].requires_grad
    for weight in weights[len(maps) :]:
        assert float(torch.linalg.svdvals(weight.flatten(1))[0]) < 1


def test_training_and_evaluation_meet_at_the_running_mean(small_model: CertifiableModel, randn: Randn) -> None:
    """Two equal models, one batch: the training output only differs where centering uses the batch."""
    other = copy.deepcopy(small_model)
    x = randn(4, 1, 28, 28)
    same = torch.equal(small_model.train()(x), other.eval()(x))
    assert same == (not isinstance(small_model, LiResNetPP))
