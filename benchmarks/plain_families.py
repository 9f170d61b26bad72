"""Whole networks through `plain_layers`, power iteration map by map, and the step of orthogonal matrices one by one."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from plain_layers import PLAIN_BLOCKS, block_reflector, by_frequency, cholesky, identity, minmax
from torch import Tensor

from lip_plugin.models import BRONet, CertifiableModel, LipNeXt, LiResNetPP
from lip_plugin.models.comparison import Comparison
from lip_plugin.models.layers.blocks import Block
from lip_plugin.models.layers.neck import OrthogonalNeck
from lip_plugin.models.layers.patch_neck import PatchNeck
from lip_plugin.models.layers.patches import Patches
from lip_plugin.models.layers.residual import OrthogonalDenseStack
from lip_plugin.models.layers.stem import Stem
from lip_plugin.network import Conv
from lip_plugin.train.estimates import STEPS_PER_UPDATE

MOVES = ((2, -1), (2, 1), (3, -1), (3, 1))


def _stem(stem: Stem, x: Tensor) -> Tensor:
    return minmax(F.conv2d(x - 0.5, stem.conv.weight, stem.conv.bias, stem.conv.stride, stem.conv.padding))


def _neck_and_dense(neck: OrthogonalNeck | PatchNeck, dense: OrthogonalDenseStack, x: Tensor) -> Tensor:
    assert neck.kernel is not None
    width = x.shape[1]
    x = F.conv2d(x, cholesky(neck.kernel).view(width, width, neck.patch, neck.patch), stride=neck.patch)
    x = minmax(F.linear(x.flatten(1), cholesky(neck.weight), neck.bias))
    for weight, gamma, bias in zip(dense.weights, dense.gamma, dense.bias, strict=True):
        x = minmax(F.linear(x, cholesky(identity(dense.width, x) + dense.depth**-0.5 * gamma * weight), bias))
    return x


def liresnet_pp(model: CertifiableModel, x: Tensor) -> Tensor:
    """Branch and skip apart: x + scale * gamma * conv(x, K) less the branch's mean."""
    assert isinstance(model, LiResNetPP) and isinstance(model.stem, Stem)
    stack = model.backbone
    x = _stem(model.stem, x)
    for block in range(stack.depth):
        gain = stack.depth**-0.5 * stack.gamma[block].flatten()[:, None, None]
        branch = gain * F.conv2d(x, stack.weights[block], padding=1)
        branch = branch - branch.mean((0, 2, 3), keepdim=True)
        x = minmax(x + branch + stack.bias[block][:, None, None])
    return _neck_and_dense(model.neck, model.dense, x)


def bronet(model: CertifiableModel, x: Tensor) -> Tensor:
    """W = I - 2 V (V^H V + ridge)^-1 V^H at every frequency of the padded map, a dense matrix each."""
    assert isinstance(model, BRONet) and isinstance(model.dense, OrthogonalDenseStack)
    stack = model.backbone
    x = _stem(model.stem, x)
    side = x.shape[2] + 2
    unit = torch.zeros_like(stack.weights[0])
    unit[:, :, 1, 1].fill_diagonal_(1.0)
    for block in range(stack.depth):
        v = unit + stack.depth**-0.5 * stack.gamma[block] * stack.weights[block]
        spectrum = torch.fft.rfft2(v.double(), (side, side)).permute(2, 3, 0, 1)
        matrices = block_reflector(spectrum).to(torch.promote_types(x.dtype, torch.complex64))
        x = by_frequency(F.pad(x, (1, 1, 1, 1)), matrices)[:, :, 1:-1, 1:-1]
        x = minmax(x - x.mean((0, 2, 3), keepdim=True) + stack.bias[block][:, None, None])
    return _neck_and_dense(model.neck, model.dense, x)


def lipnext(model: CertifiableModel, x: Tensor) -> Tensor:
    """|M R^T S(R (X + p)) + b|, one product after the other."""
    assert isinstance(model, LipNeXt)
    c, k = model.shifted, model.folded
    x = F.conv2d(x - 0.5, model.patch_kernel(), stride=model.patch)
    for block in range(len(model.rotations)):
        turn, mix = model.rotations[block], model.mixings[block]
        x = F.conv2d(x + model.positions[block], turn[:, :, None, None])
        parts = [x[:, i * c : (i + 1) * c].roll(step, dim) for i, (dim, step) in enumerate(MOVES)]
        x = F.conv2d(torch.cat([*parts, x[:, 4 * c :]], dim=1), turn.T[:, :, None, None])
        x = F.conv2d(x, mix[:, :, None, None], model.bias[block])
        x = torch.cat([x[:, :k].abs(), x[:, k:]], dim=1)
    return x.square().sum((2, 3)).sqrt()


def _patches(patches: Patches, x: Tensor) -> Tensor:
    outputs, inputs = patches.weight.shape
    matrix = cholesky(patches.weight.T).T if outputs > inputs else cholesky(patches.weight)
    kernel = matrix.reshape(outputs, x.shape[1], patches.patch, patches.patch)
    return minmax(F.conv2d(F.pad(x, patches.padding * 2), kernel, patches.bias, stride=patches.patch))


def comparison(model: CertifiableModel, x: Tensor) -> Tensor:
    assert isinstance(model, Comparison)
    x = x - 0.5
    for part in model.parts:
        if isinstance(part, Patches):
            x = _patches(part, x)
        elif isinstance(part, Block):
            x = PLAIN_BLOCKS[type(part)](part, x)
    return x.flatten(1)


PLAIN_FEATURES: dict[type[CertifiableModel], Callable[[CertifiableModel, Tensor], Tensor]] = {
    LiResNetPP: liresnet_pp,
    BRONet: bronet,
    LipNeXt: lipnext,
    Comparison: comparison,
}


def start_vectors(model: CertifiableModel) -> list[Tensor]:
    maps = model.estimated_maps()
    return [model.head.bias.new_empty(1, *linear_map.input_shape).normal_() for linear_map in maps]


def feature_norm(model: CertifiableModel, vectors: list[Tensor]) -> Tensor:
    """Warm-started power iteration, one map after the other."""
    product = model.head.bias.new_ones(())
    for index, linear_map in enumerate(model.estimated_maps()):
        operator = linear_map.operator
        assert isinstance(operator, Conv)
        weight, stride, padding = operator.weight, operator.stride[0], operator.padding[0]
        with torch.no_grad():
            for _ in range(STEPS_PER_UPDATE):
                image = F.conv2d(vectors[index], weight, stride=stride, padding=padding)
                extra = vectors[index].shape[-1] - ((image.shape[-1] - 1) * stride - 2 * padding + weight.shape[-1])
                back = F.conv_transpose2d(image, weight, None, stride, padding, extra)
                vectors[index] = back / back.norm()
        product = product * F.conv2d(vectors[index], weight, stride=stride, padding=padding).norm()
    return product


class PlainOrthogonalAdam:
    """Adam of orthogonal matrices with the exact exponential, one matrix at a time."""

    def __init__(self, model: LipNeXt, rate: float) -> None:
        self.parameters = [model.embedding, model.rotations, model.mixings]
        self.stacks = [parameter.data.view(-1, *parameter.shape[-2:]) for parameter in self.parameters]
        self.moments = [(torch.zeros_like(stack), torch.zeros_like(stack)) for stack in self.stacks]
        self.rate, self.count = rate, 0

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        for parameter, stack, (mean, square) in zip(self.parameters, self.stacks, self.moments, strict=True):
            assert parameter.grad is not None
            gradients = parameter.grad.view_as(stack)
            for index, matrix in enumerate(stack):
                product = matrix.T @ gradients[index]
                tangent = (product - product.T) / 2
                mean[index].mul_(0.9).add_(0.1 * tangent)
                square[index].mul_(0.999).add_(0.001 * tangent**2)
                m, v = mean[index] / (1 - 0.9**self.count), square[index] / (1 - 0.999**self.count)
                step = (-self.rate * m / (v.sqrt() + 1e-8)).double()
                matrix.copy_(matrix.double() @ torch.linalg.matrix_exp(step))
