"""One small architecture in which only the layer's parametrisation changes: so that what is compared are layers.

In the manner of Prach, Brau, Buttazzo, Lampert, "1-Lipschitz Layers Compared", CVPR 2024 (arXiv 2311.16833), with an
orthogonal stem, downsampling and neck that are the same for all.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.models.architecture import ArchitectureConfig, Citation, require_storable
from lip_plugin.models.base import CertifiableModel, EstimatedMap, maps_along
from lip_plugin.models.layers.adaptive_conv import AdaptiveOrthogonalConv
from lip_plugin.models.layers.blocks import BLOCKS, Block
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.minmax import require_even
from lip_plugin.models.layers.orthogonal import MatrixName
from lip_plugin.models.layers.patches import Patches
from lip_plugin.network import Flatten, Offset, Operator

BlockName = Literal["aoc", "aol", "cayley", "cpl", "gloro", "lot", "sll", "soc"]
DownsamplingName = Literal["patches", "aoc"]
_DOWNSAMPLING: dict[DownsamplingName, type[Patches]] = {"patches": Patches, "aoc": AdaptiveOrthogonalConv}
_OFFSET = -0.5


class Comparison(CertifiableModel):
    """Stages of patches and ``depth`` blocks, patches as large as the last map, ``dense_depth`` dense blocks, head."""

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        block: BlockName,
        depth: int,
        width: int,
        stages: int,
        patch: int,
        kernel: int,
        dense_width: int,
        dense_depth: int,
        downsampling: DownsamplingName,
        matrix: MatrixName,
    ) -> None:
        super().__init__()
        require_even(width=width, dense_width=dense_width)
        channels, size, columns = input_shape
        if size != columns:
            raise ConfigError(f"input_shape {input_shape} is not square; the comparison is defined for square images")
        self.input_shape = input_shape
        make = BLOCKS[block]
        parts: list[Patches | Block] = []
        for stage in range(stages):
            kind, stride = (Patches, patch) if stage == 0 else (_DOWNSAMPLING[downsampling], 2)
            patches = kind(channels, size, width, stride, matrix=matrix)
            channels, size = width, patches.output_size
            parts += [patches, *(make(width, size, kernel) for _ in range(depth))]
        parts.append(Patches(width, size, dense_width, size, matrix=matrix))
        parts += [make(dense_width, 1, 1) for _ in range(dense_depth)]
        self.parts = nn.ModuleList(parts)
        self.head = NormalizedHead(dense_width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        x = x + _OFFSET
        for part in self.parts:
            x = part(x)
        return x.flatten(1)

    def freeze_operators(self) -> tuple[Operator, ...]:
        offset = self.head.bias.new_tensor(_OFFSET)
        return Offset(offset), *(operator for part in self._parts() for operator in part.freeze()), Flatten()

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return tuple(
            estimated
            for part in self._parts()
            if isinstance(part, Block) and part.estimated
            for estimated in maps_along(part.freeze(), (part.channels, part.size, part.size))
        )

    def _parts(self) -> list[Patches | Block]:
        return [part for part in self.parts if isinstance(part, Patches | Block)]


class ComparisonConfig(ArchitectureConfig):
    """Sizes of a `Comparison`, and its layer: one word. Widths are even, kernels odd.

    The layers that are orthogonal in the Fourier domain (cayley, lot, soc) freeze into a matrix per frequency.
    ``downsampling`` is how stages after the first begin, ``matrix`` how the matrices of patches are made orthogonal.
    """

    architecture: Literal["comparison"] = "comparison"
    block: BlockName = "cayley"
    depth: int = Field(default=2, ge=1)
    width: int = Field(default=64, ge=2, multiple_of=2)
    stages: int = Field(default=2, ge=1, le=16)
    patch: int = Field(default=4, ge=1, le=1024)
    kernel: Literal[1, 3, 5, 7] = 3
    dense_width: int = Field(default=256, ge=2, multiple_of=2)
    dense_depth: int = Field(default=1, ge=0)
    downsampling: DownsamplingName = "patches"
    matrix: MatrixName = "cholesky"

    citation: ClassVar[Citation] = Citation(
        based_on="one architecture for many 1-Lipschitz layers (Prach, Brau, Buttazzo, Lampert, CVPR 2024)",
        paper="1-Lipschitz Layers Compared: Memory, Speed, and Certifiable Robustness (arXiv 2311.16833)",
        link="https://arxiv.org/abs/2311.16833",
    )

    @model_validator(mode="after")
    def _can_be_stored(self) -> ComparisonConfig:
        weights = self.stages * self.depth * self.kernel**2 * self.width**2 + self.dense_depth * self.dense_width**2
        require_storable(weights=weights, layers=self.stages * (self.depth + 1) + self.dense_depth)
        return self

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> Comparison:
        sizes = self.model_dump(exclude={"architecture"})
        return Comparison(input_shape=input_shape, num_classes=num_classes, **sizes)
