"""A residual convolution with centering, as one autograd function.

Forward: y = conv(x) + b - m with m the mean of the branch conv(x) - x over batch, map and processes.
Written with separate means, autograd would build a gradient of the map's size for each of them; here the
gradient of the mean is one number per channel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def centred_conv(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """(y (B, C, H, W), m (C,)) for a square kernel of odd side that keeps the map. m carries no gradient.

    Under autocast the convolution runs in the lower precision, means and bias stay in float32 or better.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    result: tuple[Tensor, Tensor] = _CentredConv.apply(x, weight, bias)
    return result


class _CentredConv(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        out = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        dtype = torch.promote_types(x.dtype, torch.float32)
        mean = mean_over_ranks(out.mean((0, 2, 3), dtype=dtype) - x.mean((0, 2, 3), dtype=dtype))
        return out.add_((bias - mean).to(out.dtype)[:, None, None]), mean

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grad_outputs[0]
        total = grad.sum((0, 2, 3), dtype=torch.promote_types(grad.dtype, torch.float32))
        # d loss / d mean is -total, spread evenly over the entries of out (minus) and of x (plus).
        share = (mean_over_ranks(total) / (grad.numel() / grad.shape[1])).to(grad.dtype)[:, None, None]
        padding = [weight.shape[-1] // 2] * 2
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            grad - share, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, [True, True, False]
        )
        return of_x.add_(share), of_weight, total


def shared_mean(values: Tensor) -> Tensor:
    """`mean_over_ranks` that gradient flows through, for gradients that are averaged over the processes afterwards."""
    mean: Tensor = _SharedMean.apply(values)
    return mean


class _SharedMean(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return mean_over_ranks(values).clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return mean_over_ranks(grad_outputs[0])


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over all processes of a distributed run (equal batches); itself without one. No gradient."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
