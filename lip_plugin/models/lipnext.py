"""LipNeXt (Hu, Hu, Fredrikson, ICLR 2026, arXiv 2601.18513). docs/lipnext.md: what its sources leave open."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.models.architecture import ArchitectureConfig, Citation, require_storable
from lip_plugin.models.base import CertifiableModel, EstimatedMap
from lip_plugin.models.groups import ParameterGroup
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.orthogonal import haar, orthogonal_group
from lip_plugin.network import (
    Conv,
    Flatten,
    L2Pool,
    Offset,
    Operator,
    PartialAbs,
    SpatialShift,
    partial_abs,
    spatial_shift,
)


class LipNeXt(CertifiableModel):
    """Patches, ``depth`` blocks Z = |M R^T S(R (X + p)) + b| of one width, an L2 pool over the map, a normalised head.

    R and M are orthogonal, S shifts four groups of channels by a pixel, |.| concerns some channels: every map keeps
    norms. The patches of ``patch`` x ``patch`` pixels go through the first columns of an orthogonal matrix.
    """

    offset = -0.5

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: int,
        width: int,
        patch: int = 4,
        shift: float = 0.125,
        beta: float = 0.5,
        matrix_rate: float = 1.0,
    ) -> None:
        super().__init__()
        channels, height, columns = input_shape
        if height % patch or columns % patch:
            raise ConfigError(f"patches of {patch} x {patch} pixels do not tile images of shape {input_shape}")
        inputs = channels * patch**2
        if inputs > width:
            raise ConfigError(f"a patch has {inputs} numbers and width is {width}: make width larger or patch smaller")
        self.input_shape, self.patch, self.matrix_rate = input_shape, patch, matrix_rate
        self.map_size = height // patch, columns // patch
        self.shifted, self.folded = int(shift * width), int(beta * width)
        self.embedding = nn.Parameter(haar(width, width))
        self.rotations = nn.Parameter(haar(depth, width, width))
        self.mixings = nn.Parameter(haar(depth, width, width))
        self.positions = nn.Parameter(torch.zeros(depth, 1, *self.map_size))
        self.bias = nn.Parameter(torch.zeros(depth, width))
        self.head = NormalizedHead(width, num_classes)

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        rest = (self.positions, self.bias, *self.head.parameters())
        matrices = (self.embedding, self.rotations, self.mixings)
        return ParameterGroup("rest", rest), orthogonal_group("matrices", matrices, rate=self.matrix_rate)

    def merged_weights(self) -> Tensor:
        """(L, C, C): M R^T of every block, one matrix where the formula has two. In float32 or better, also in bf16."""
        with torch.autocast(self.mixings.device.type, enabled=False):
            return self.mixings @ self.rotations.mT

    def patch_kernel(self) -> Tensor:
        """(C, channels, patch, patch), orthonormal columns."""
        channels = self.input_shape[0]
        return self.embedding[:, : channels * self.patch**2].unflatten(1, (channels, self.patch, self.patch))

    def features(self, x: Tensor) -> Tensor:
        x = F.conv2d(x + self.offset, self.patch_kernel(), stride=self.patch)
        for rotation, merged, position, bias in zip(
            self.rotations, self.merged_weights(), self.positions, self.bias, strict=True
        ):
            x = x + position.to(x.dtype)  # under autocast the map stays in the lower precision
            x = spatial_shift(F.conv2d(x, rotation[:, :, None, None]), self.shifted)
            x = partial_abs(F.conv2d(x, merged[:, :, None, None], bias), self.folded)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return L2Pool(self.map_size).apply(x).flatten(1)

    def freeze_operators(self) -> tuple[Operator, ...]:
        """Two convolutions of 1x1 pixels per block. M R^T is formed in float64 and rounded once."""
        kernel = self.patch_kernel()
        layers: list[Operator] = [Offset(torch.full((), self.offset, dtype=kernel.dtype, device=kernel.device))]
        layers.append(Conv(kernel, stride=(self.patch, self.patch)))
        merged = (self.mixings.double() @ self.rotations.mT.double()).to(kernel.dtype)
        for rotation, weight, position, bias in zip(self.rotations, merged, self.positions, self.bias, strict=True):
            layers += [Offset(position), Conv(rotation[:, :, None, None]), SpatialShift(self.shifted)]
            layers += [Conv(weight[:, :, None, None], bias), PartialAbs(self.folded)]
        return (*layers, L2Pool(self.map_size), Flatten())

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        """None: every map has norm 1 by training, and a bound of about that is proved of what was stored."""
        return ()


class LipNeXtConfig(ArchitectureConfig):
    """Sizes of a `LipNeXt`. L6 W128 is for a CPU; the paper has L32 W1024 and L32 W2048 (64 and 256 M parameters).

    ``shift`` is the share of channels that move in each of the four directions, ``beta`` the share that is folded by
    |.|; ``matrix_rate`` the learning rate of the orthogonal matrices over that of the run.
    """

    architecture: Literal["lipnext"] = "lipnext"
    depth: int = Field(default=6, ge=1)
    width: int = Field(default=128, ge=1)
    patch: int = Field(default=4, ge=1, le=1024)
    shift: float = Field(default=0.125, ge=0, le=0.25)
    beta: float = Field(default=0.5, ge=0, le=1)
    matrix_rate: float = Field(default=1.0, gt=0, le=1e6)

    citation: ClassVar[Citation] = Citation(
        based_on="LipNeXt (Hu, Hu, Fredrikson, ICLR 2026) trained with EMMA (Hu et al., NeurIPS 2023)",
        paper="LipNeXt (arXiv 2601.18513); Unlocking Deterministic Robustness Certification on ImageNet "
        "(arXiv 2301.12549)",
        link="https://arxiv.org/abs/2601.18513",
        bibtex="@inproceedings{hu2026lipnext, title={LipNeXt}, author={Hu, Kai and Hu, Haoqi and Fredrikson, Matt}, "
        "booktitle={International Conference on Learning Representations}, year={2026}}",
    )

    @model_validator(mode="after")
    def _can_be_stored(self) -> LipNeXtConfig:
        require_storable(weights=(2 * self.depth + 1) * self.width**2, layers=self.depth)
        return self

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> LipNeXt:
        return LipNeXt(
            input_shape=input_shape,
            num_classes=num_classes,
            depth=self.depth,
            width=self.width,
            patch=self.patch,
            shift=self.shift,
            beta=self.beta,
            matrix_rate=self.matrix_rate,
        )

    def description(self) -> str:
        return f"{self.architecture} L{self.depth} W{self.width}, patches of {self.patch}x{self.patch} pixels"
