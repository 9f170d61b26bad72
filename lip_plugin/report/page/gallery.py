"""Images beside their adversarial version, as pictures inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from lip_plugin.data import find_dataset
from lip_plugin.evaluate import Report


@dataclass(frozen=True)
class GalleryRow:
    """One image. The three pictures are ``data:`` addresses of PNG files; ``amplified``: of the difference.

    ``class_name`` is empty where nothing says what the class is called.
    """

    index: int
    label: int
    class_name: str
    attack: str
    distance: float
    image: str
    adversarial: str
    difference: str
    amplified: float


def may_be_shown(report: Report) -> bool:
    """Whether the images may be in a page that nobody has asked for them in: where their data set's terms say so."""
    record = find_dataset(report.dataset.name)
    return record is not None and record.may_be_shown


def gallery_rows(report: Report) -> list[GalleryRow]:
    """Those images whose adversarial version the report holds."""
    names = _class_names(report)
    return [
        _row(report, names, picture.index, picture.image.float(), picture.adversarial.float())
        for picture in report.adversarial
    ]


def _class_names(report: Report) -> tuple[str, ...]:
    """Those of the files that the images were taken from, else of their data set; none where neither says."""
    if report.data is not None:
        return report.data.classes
    record = find_dataset(report.dataset.name)
    return () if record is None else record.class_names


def _row(report: Report, names: tuple[str, ...], index: int, image: Tensor, adversarial: Tensor) -> GalleryRow:
    points = report.points
    label = int(points.labels[index])
    difference = adversarial - image
    largest = float(difference.abs().max())
    factor = 0.5 / largest if largest > 0 else 1.0
    return GalleryRow(
        index=index,
        label=label,
        class_name=names[label] if label < len(names) else "",
        attack=points.attack[index],
        distance=float(points.distance[index]),
        image=_png_address(image),
        adversarial=_png_address(adversarial),
        difference=_png_address(0.5 + factor * difference),
        amplified=factor,
    )


def _png_address(pixels: Tensor) -> str:
    """(C, H, W) in [0,1] in grey or colour, rounded to 8 bits; other than 3 channels as their mean."""
    shown = pixels if len(pixels) == 3 else pixels.mean(dim=0, keepdim=True)
    levels = rearrange(shown.clamp(0, 1).mul(255).round().to(torch.uint8), "c h w -> h w c").numpy()
    content = io.BytesIO()
    Image.fromarray(levels if levels.shape[2] == 3 else levels[:, :, 0]).save(content, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
