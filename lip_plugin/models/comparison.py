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
from lip_plugin.models.layers.blocks import BLOCKS, Block
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.minmax import require_even
from lip_plugin.models.layers.patches import Patches
from lip_plugin.network import Flatten, Offset, Operator

BlockName = Literal["aol", "cayley", "cpl", "gloro", "lot", "sll", "soc"]
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
            patches = Patches(channels, size, width, patch if stage == 0 else 2)
            channels, size = width, patches.output_size
            parts += [patches, *(make(width, size, kernel) for _ in range(depth))]
        parts += [Patches(width, size, dense_width, size), *(make(dense_width, 1, 1) for _ in range(dense_depth))]
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
