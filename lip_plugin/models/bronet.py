"""BRONet (Lai, Huang, Kung, Chen, ICML 2025, arXiv 2505.15174)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from lip_plugin.models.architecture import ArchitectureConfig, Citation, require_storable
from lip_plugin.models.base import CertifiableModel, EstimatedMap, maps_along
from lip_plugin.models.freezing import (
    freeze_conv_stack,
    freeze_dense_stack,
    freeze_patch_neck,
    freeze_reflector_convs,
)
from lip_plugin.models.layers.head import NormalizedHead
from lip_plugin.models.layers.minmax import require_even
from lip_plugin.models.layers.patch_neck import LinearKind, PatchKind, PatchNeck
from lip_plugin.models.layers.reflector import ReflectorConvStack, ReflectorDenseStack, rank_of
from lip_plugin.models.layers.residual import OrthogonalDenseStack, ResidualConvStack
from lip_plugin.models.layers.stem import Stem, StemGeometry, stem_geometry
from lip_plugin.network import Operator

_PATCHES = StemGeometry(kernel=14, stride=14, padding=0)
_PATCHES_FROM = 128


def bronet_stem(input_shape: tuple[int, int, int], width: int) -> StemGeometry:
    """5x5 stride 2 for small images, patches of 14 for large ones, whatever the width."""
    small = stem_geometry(input_shape, width, stride_4_at_64=False)
    return _PATCHES if input_shape[1] >= _PATCHES_FROM else small


class BRONetConfig(ArchitectureConfig):
    """Sizes of a `BRONet`. Widths are even; ranks are below them: see `rank_of`."""

    architecture: Literal["bronet"] = "bronet"
    plain_depth: int = Field(default=0, ge=0)
    """Linear residual convolutions before the block reflectors, whose norms are estimated: the hybrid backbone."""
    depth: int = Field(default=4, ge=1)
    """Convolutions by block reflectors."""
    width: int = Field(default=32, ge=2, multiple_of=2)
    rank_ratio: float = Field(default=0.5, ge=0, le=1)
    grows: bool = False
    """Keep the padded border, so that each of those makes the map larger by two ("v2")."""
    neck: PatchKind = "cholesky"
    neck_linear: LinearKind = "cholesky"
    neck_patch: int = Field(default=4, ge=1, le=1024)
    dense: LinearKind = "cholesky"
    dense_width: int = Field(default=512, ge=2, multiple_of=2)
    dense_depth: int = Field(default=2, ge=0)
    dense_rank_ratio: float = Field(default=0.5, ge=0, le=1)

    citation: ClassVar[Citation] = Citation(
        based_on="BRONet (Lai, Huang, Kung, Chen, ICML 2025)",
        paper="Enhancing Certified Robustness via Block Reflector Orthogonal Layers and Logit Annealing Loss "
        "(arXiv 2505.15174)",
        link="https://arxiv.org/abs/2505.15174",
        bibtex="@inproceedings{lai2025bronet, title={Enhancing Certified Robustness via Block Reflector Orthogonal "
        "Layers and Logit Annealing Loss}, author={Lai, Bo-Han and Huang, Pin-Han and Kung, Bo-Han and "
        "Chen, Shang-Tse}, booktitle={International Conference on Machine Learning}, year={2025}}",
    )

    @model_validator(mode="after")
    def _can_be_stored(self) -> BRONetConfig:
        weights = (self.depth + self.plain_depth) * 9 * self.width**2 + self.dense_depth * self.dense_width**2
        require_storable(weights=weights, layers=self.depth + self.plain_depth + self.dense_depth)
        return self

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> BRONet:
        return BRONet(self, input_shape=input_shape, num_classes=num_classes)

    def description(self) -> str:
        plain = f"{self.plain_depth} plain and " if self.plain_depth else ""
        growing = ", growing" if self.grows else ""
        rank = rank_of(self.width, self.rank_ratio)
        return (
            f"{self.architecture} {plain}L{self.depth} W{self.width} rank {rank}{growing}, "
            f"{self.neck} and {self.neck_linear} neck, {self.dense_depth} {self.dense} dense of {self.dense_width}"
        )


class BRONet(CertifiableModel):
    """Stem, residual convolutions, convolutions by block reflectors, neck, orthogonal dense layers, normalised head."""

    def __init__(self, config: BRONetConfig, *, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        width, dense_width = config.width, config.dense_width
        require_even(width=width, dense_width=dense_width)
        self.input_shape = input_shape
        geometry = bronet_stem(input_shape, width)
        size = geometry.output_size(input_shape[1])
        self.stem = Stem(input_shape[0], width, geometry)
        self.plain: ResidualConvStack | None = None
        if config.plain_depth:
            self.plain = ResidualConvStack(config.plain_depth, width, centering=True)
        rank = rank_of(width, config.rank_ratio)
        self.backbone = ReflectorConvStack(config.depth, width, rank, size, grows=config.grows)
        self.neck = PatchNeck(
            width,
            self.backbone.output_size,
            dense_width,
            patch=config.neck_patch,
            conv=config.neck,
            linear=config.neck_linear,
        )
        self.dense: OrthogonalDenseStack | ReflectorDenseStack
        if config.dense == "bro":
            rank = rank_of(dense_width, config.dense_rank_ratio)
            self.dense = ReflectorDenseStack(config.dense_depth, dense_width, rank)
        else:
            self.dense = OrthogonalDenseStack(config.dense_depth, dense_width)
        self.head = NormalizedHead(dense_width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.plain is not None:
            x = self.plain(x)
        out: Tensor = self.dense(self.neck(self.backbone(x)))
        return out

    def freeze_operators(self) -> tuple[Operator, ...]:
        return (
            *self._bounded(),
            *freeze_reflector_convs(self.backbone),
            *freeze_patch_neck(self.neck),
            *freeze_dense_stack(self.dense),
        )

    def _bounded(self) -> tuple[Operator, ...]:
        """What has no norm of its own by nature."""
        return (*self.stem.freeze(), *(() if self.plain is None else freeze_conv_stack(self.plain)))

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return maps_along(self._bounded(), self.input_shape)
