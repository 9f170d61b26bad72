"""A network of orthogonal matrices and sorting: its Lipschitz constant is 1 without any normalisation."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from lip_plugin import ConfigError
from lip_plugin.models import ArchitectureConfig, CertifiableModel, EstimatedMap, NormalizedHead, ParameterGroup
from lip_plugin.network import Conv, Dense, Flatten, Offset, Operator, PixelUnshuffle

from .group_sort import GroupSort

GROUP = 4


def polar(matrix: Tensor) -> Tensor:
    """(M, N), M <= N: the nearest matrix with orthonormal rows."""
    u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (u @ vh).to(matrix.dtype)


class Orthogonal(CertifiableModel):
    """Patches to channels, an orthogonal 1x1 convolution, then ``depth`` dense layers with orthonormal rows; a sort
    in groups of four after each of them, and a normalised head.
    """

    centre: Tensor

    def __init__(
        self, *, input_shape: tuple[int, int, int], num_classes: int, patch: int, width: int, depth: int
    ) -> None:
        super().__init__()
        channels, height, width_of_map = input_shape
        in_patch = channels * patch**2
        pixels = channels * height * width_of_map
        if height % patch or width_of_map % patch or in_patch % GROUP or width > pixels:
            raise ConfigError(
                f"patches of {patch} and a width of {width} do not fit images of shape {input_shape}; expected patches "
                f"that divide them into vectors of a multiple of {GROUP} entries, and a width of {pixels} at most"
            )
        self.input_shape, self.patch = input_shape, patch
        sizes = [(width, pixels), *[(width, width)] * (depth - 1)]
        self.mixing = nn.Parameter(torch.randn(in_patch, in_patch))
        self.matrices = nn.ParameterList([torch.randn(rows, columns) for rows, columns in sizes])
        self.biases = nn.Parameter(torch.zeros(depth, width))
        self.register_buffer("centre", torch.tensor(-0.5))
        self.head = NormalizedHead(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        for operator in self.freeze_operators():
            x = operator.apply(x)
        return x

    def freeze_operators(self) -> tuple[Operator, ...]:
        sort = GroupSort(GROUP)
        layers: list[Operator] = [Offset(self.centre), PixelUnshuffle(self.patch)]
        layers += [Conv(self.mixing[:, :, None, None]), sort, Flatten()]
        for matrix, bias in zip(self.matrices, self.biases, strict=True):
            layers += [Dense(matrix, bias), sort]
        return tuple(layers)

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return ()  # every map has norm 1, which the group below keeps true

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        rotations = (self.mixing, *self.matrices)
        return (
            ParameterGroup("rest", (self.biases, *self.head.parameters())),
            ParameterGroup("rotations", rotations, linear=False, retract=polar),
        )


class OrthogonalConfig(ArchitectureConfig):
    """Sizes of an `Orthogonal`. ``width`` is a multiple of four."""

    architecture: Literal["example_orthogonal"] = "example_orthogonal"
    patch: int = Field(default=4, ge=1)
    width: int = Field(default=32, ge=GROUP, multiple_of=GROUP)
    depth: int = Field(default=2, ge=1)

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> Orthogonal:
        return Orthogonal(
            input_shape=input_shape, num_classes=num_classes, patch=self.patch, width=self.width, depth=self.depth
        )
