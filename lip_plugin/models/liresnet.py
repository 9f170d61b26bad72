"""LiResNet (Hu, Zou, Wang, Leino, Fredrikson, NeurIPS 2023, arXiv 2301.12549)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from lip_plugin.models.architecture import ArchitectureConfig, Citation, require_storable
from lip_plugin.models.base import CertifiableModel, EstimatedMap, maps_along
from lip_plugin.models.freezing import freeze_conv_stack
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.minmax import require_even
from lip_plugin.models.layers.neck import PlainNeck
from lip_plugin.models.layers.residual import ResidualConvStack
from lip_plugin.models.layers.stem import Stem, stem_geometry
from lip_plugin.network import Conv, Dense, Flatten, MinMax, Operator


class LiResNet(CertifiableModel):
    """Stem, ``depth`` linear residual blocks, a plain neck, a last-layer-normalised head.

    Every width must be even (MinMax). 64x64 images take the 7x7 stride-4 stem.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        depth: int,
        width: int,
        dense_width: int = 512,
    ) -> None:
        super().__init__()
        require_even(width=width, dense_width=dense_width)
        self.input_shape = input_shape
        geometry = stem_geometry(input_shape, width, stride_4_at_64=True)
        self.map_size = geometry.output_size(input_shape[1])
        self.stem = Stem(input_shape[0], width, geometry)
        self.backbone = ResidualConvStack(depth, width, centering=False)
        self.neck = PlainNeck(width, self.map_size, dense_width)
        self.head = NormalizedHead(dense_width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.neck(self.backbone(self.stem(x)))
        return out

    def freeze_operators(self) -> tuple[Operator, ...]:
        conv, linear = self.neck.conv, self.neck.linear
        return (
            *self.stem.freeze(),
            *freeze_conv_stack(self.backbone),
            Conv(conv.weight, conv.bias, stride=(PlainNeck.patch, PlainNeck.patch)),
            MinMax(),
            Flatten(),
            Dense(linear.weight, linear.bias),
            MinMax(),
        )

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return maps_along(self.freeze_operators(), self.input_shape)


class LiResNetConfig(ArchitectureConfig):
    """Sizes of a `LiResNet`. Widths are even."""

    architecture: Literal["liresnet"] = "liresnet"
    depth: int = Field(default=4, ge=1)
    width: int = Field(default=32, ge=2, multiple_of=2)
    dense_width: int = Field(default=512, ge=2, multiple_of=2)

    citation: ClassVar[Citation] = Citation(
        based_on="LiResNet trained with EMMA (Hu, Zou, Wang, Leino, Fredrikson, NeurIPS 2023)",
        paper="Unlocking Deterministic Robustness Certification on ImageNet (arXiv 2301.12549)",
        link="https://arxiv.org/abs/2301.12549",
        bibtex="@inproceedings{hu2023unlocking, title={Unlocking Deterministic Robustness Certification on ImageNet}, "
        "author={Hu, Kai and Zou, Andy and Wang, Zifan and Leino, Klas and Fredrikson, Matt}, "
        "booktitle={Advances in Neural Information Processing Systems}, year={2023}}",
    )

    @model_validator(mode="after")
    def _can_be_stored(self) -> LiResNetConfig:
        require_storable(weights=self.depth * 9 * self.width**2, layers=self.depth)
        return self

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> LiResNet:
        return LiResNet(
            input_shape=input_shape,
            num_classes=num_classes,
            depth=self.depth,
            width=self.width,
            dense_width=self.dense_width,
        )

    def description(self) -> str:
        return f"{self.architecture} L{self.depth} W{self.width}, plain neck"
