"""LiResNet++ (Hu, Leino, Wang, Fredrikson, ICLR 2024, arXiv 2310.02513)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from lip_plugin.models.architecture import ArchitectureConfig, Citation, require_storable
from lip_plugin.models.base import CertifiableModel, EstimatedMap, maps_along
from lip_plugin.models.freezing import (
    freeze_conv_stack,
    freeze_dense_stack,
    freeze_orthogonal_neck,
)
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.minmax import require_even
from lip_plugin.models.layers.neck import OrthogonalNeck
from lip_plugin.models.layers.residual import OrthogonalDenseStack, ResidualConvStack
from lip_plugin.models.layers.stem import PatchStem, Stem, stem_geometry
from lip_plugin.network import Operator

StemKind = Literal["conv", "patches"]


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
        stem: StemKind = "conv",
    ) -> None:
        super().__init__()
        require_even(width=width, dense_width=dense_width)
        self.input_shape = input_shape
        geometry = stem_geometry(input_shape, width, stride_4_at_64=False)
        self.stem: Stem | PatchStem
        if stem == "conv":
            self.stem, self.map_size = Stem(input_shape[0], width, geometry), geometry.output_size(input_shape[1])
        else:
            self.stem = PatchStem(input_shape[0], input_shape[1], width, geometry.stride)
            self.map_size = self.stem.patches.output_size
        self.backbone = ResidualConvStack(depth, width, centering=True)
        self.neck = OrthogonalNeck(width, self.map_size, dense_width, patch=neck_patch)
        self.dense = OrthogonalDenseStack(dense_depth, dense_width)
        self.head = NormalizedHead(dense_width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.dense(self.neck(self.backbone(self.stem(x))))
        return out

    def freeze_operators(self) -> tuple[Operator, ...]:
        return (
            *self.stem.freeze(),
            *freeze_conv_stack(self.backbone),
            *freeze_orthogonal_neck(self.neck),
            *freeze_dense_stack(self.dense),
        )

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        backbone = freeze_conv_stack(self.backbone)
        if self.stem.estimated:
            return maps_along((*self.stem.freeze(), *backbone), self.input_shape)
        return maps_along(backbone, (self.backbone.width, self.map_size, self.map_size))


class LiResNetPPConfig(ArchitectureConfig):
    """Sizes of a `LiResNetPP`. Widths are even."""

    architecture: Literal["liresnet_pp"] = "liresnet_pp"
    depth: int = Field(default=4, ge=1)
    width: int = Field(default=32, ge=2, multiple_of=2)
    dense_width: int = Field(default=512, ge=2, multiple_of=2)
    dense_depth: int = Field(default=2, ge=0)
    neck_patch: int = Field(default=4, ge=1, le=1024)
    stem: StemKind = "conv"
    """``patches``: disjoint patches as large as the stride, through orthonormal columns, instead of a convolution."""

    citation: ClassVar[Citation] = Citation(
        based_on="LiResNet++ (Hu, Leino, Wang, Fredrikson, ICLR 2024) trained with EMMA (Hu et al., NeurIPS 2023)",
        paper="Unlocking Deterministic Robustness Certification on ImageNet (arXiv 2301.12549); "
        "A Recipe for Improved Certifiable Robustness (arXiv 2310.02513)",
        link="https://arxiv.org/abs/2310.02513",
        bibtex="@inproceedings{hu2024recipe, title={A Recipe for Improved Certifiable Robustness}, "
        "author={Hu, Kai and Leino, Klas and Wang, Zifan and Fredrikson, Matt}, "
        "booktitle={International Conference on Learning Representations}, year={2024}}",
    )

    @model_validator(mode="after")
    def _can_be_stored(self) -> LiResNetPPConfig:
        weights = self.depth * 9 * self.width**2 + self.dense_depth * self.dense_width**2
        require_storable(weights=weights, layers=self.depth + self.dense_depth)
        return self

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> LiResNetPP:
        return LiResNetPP(
            input_shape=input_shape,
            num_classes=num_classes,
            depth=self.depth,
            width=self.width,
            dense_width=self.dense_width,
            dense_depth=self.dense_depth,
            neck_patch=self.neck_patch,
            stem=self.stem,
        )

    def description(self) -> str:
        stem = "" if self.stem == "conv" else ", stem of patches"
        return f"{self.architecture} L{self.depth} W{self.width}{stem}, {self.dense_depth} dense of {self.dense_width}"
