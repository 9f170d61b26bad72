"""LiResNet++ (Hu, Leino, Wang, Fredrikson, ICLR 2024, arXiv 2310.02513)."""

from __future__ import annotations

from torch import Tensor

from lip_plugin.models.base import CertifiableModel, EstimatedMap
from lip_plugin.models.freezing import (
    freeze_conv_stack,
    freeze_dense_stack,
    freeze_orthogonal_neck,
    freeze_stem,
)
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.minmax import require_even
from lip_plugin.models.layers.neck import OrthogonalNeck
from lip_plugin.models.layers.residual import OrthogonalDenseStack, ResidualConvStack
from lip_plugin.models.layers.stem import Stem, stem_geometry
from lip_plugin.network import Operator


class LiResNetPP(CertifiableModel):
    """Stem, ``depth`` centred residual blocks, orthogonal neck, ``dense_depth`` orthogonal dense layers, head.

    Every width must be even (MinMax).
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: int,
        width: int,
        dense_width: int = 2048,
        dense_depth: int = 8,
        neck_patch: int = 4,
    ) -> None:
        super().__init__()
        require_even(width=width, dense_width=dense_width)
        self.input_shape = input_shape
        geometry = stem_geometry(input_shape, width, stride_4_at_64=False)
        self.map_size = geometry.output_size(input_shape[1])
        self.stem = Stem(input_shape[0], width, geometry)
        self.backbone = ResidualConvStack(depth, width, centering=True)
        self.neck = OrthogonalNeck(width, self.map_size, dense_width, patch=neck_patch)
        self.dense = OrthogonalDenseStack(dense_depth, dense_width)
        self.head = NormalizedHead(dense_width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.dense(self.neck(self.backbone(self.stem(x))))
        return out

    def freeze_operators(self) -> tuple[Operator, ...]:
        return (
            *freeze_stem(self.stem),
            *freeze_conv_stack(self.backbone),
            *freeze_orthogonal_neck(self.neck),
            *freeze_dense_stack(self.dense),
        )

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        size = (self.map_size, self.map_size)
        stem = self.stem.geometry
        return (
            EstimatedMap(self.stem.conv.weight, stem.stride, stem.padding, self.input_shape[1:]),
            *(EstimatedMap(weight, 1, 1, size) for weight in self.backbone.merged_weights()),
        )
