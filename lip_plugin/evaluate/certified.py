"""The certificate of a data set: block by block, each rank its own blocks, the whole on every rank."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate, certify_blocks, check_images, check_labels
from lip_plugin.certificates.sharing import share_proofs
from lip_plugin.data import LabelledImages
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.given import GivenImages
from lip_plugin.evaluate.request import Request
from lip_plugin.network import CertifiedClassifier, require_unaltered
from lip_plugin.progress import progress_bar
from lip_plugin.ranks import Ranks


def given_images(model: CertifiedClassifier, x: Tensor, y: Tensor) -> GivenImages:
    """Tensors as a data set, after a look at all of them. Raises DataError, ConfigError."""
    require_unaltered(model)
    check_images(model, x)
    if len(x) == 0:
        raise DataError("no images were given; give at least one")
    check_labels(model, x, y)
    return GivenImages(x, y)


def checked_blocks(model: CertifiedClassifier, images: LabelledImages, request: Request, ranks: Ranks) -> Blocks:
    """The images cut into work units, after a look at what is known of all and at the first one: proofs take time."""
    require_unaltered(model)
    if len(images) == 0:
        raise DataError(f"{images.source} has no images; give at least one")
    if images.image_shape != model.input_shape:
        expected = ", ".join(map(str, model.input_shape))
        raise DataError(f"images have shape {(len(images), *images.image_shape)}; this model expects (B, {expected})")
    if images.num_classes not in (None, model.num_classes):
        raise DataError(f"{images.source} has {images.num_classes} classes; this model tells {model.num_classes} apart")
    blocks = Blocks(images, request.batch_size, model.dtype, ranks)
    check_labels(model, torch.empty(len(images)), blocks.labels)
    for x, _ in images.first(1).blocks(1, model.dtype):
        check_images(model, x)
    return blocks


def certify_together(
    model: CertifiedClassifier, blocks: Blocks, *, arithmetic: str, progress: bool = False
) -> Certificate:
    """The certificate of all images in file order, on every rank. Raises as `certify`, on every rank."""
    ranks = blocks.ranks
    _require_same_work(model, blocks)
    share_proofs(model, ranks)
    own = ranks.together(lambda: _own_part(model, blocks, arithmetic, progress and ranks.leads))
    parts = ranks.gather(own)
    if ranks.world == 1:
        return own
    order = torch.cat([blocks.positions(rank) for rank in range(ranks.world)]).argsort()
    columns = ("prediction", "margin", "radius", "disagrees", "strays")
    whole = {name: torch.cat([getattr(part, name) for part in parts])[order] for name in columns}
    return dataclasses.replace(own, **whole)


def _require_same_work(model: CertifiedClassifier, blocks: Blocks) -> None:
    if blocks.ranks.world > 1 and len(set(blocks.ranks.gather((model.digest, blocks.digest)))) > 1:
        raise ConfigError("the processes have different models or labels; give all of them the same files")


def _own_part(model: CertifiedClassifier, blocks: Blocks, arithmetic: str, progress: bool) -> Certificate:
    count = len(blocks.positions(blocks.ranks.rank))
    with progress_bar("certify", total=count, enabled=progress) as advance:
        certificate = certify_blocks(
            model, blocks.read_own(), arithmetic=arithmetic, on_images=lambda done: advance(done, "")
        )
    if len(certificate) != count:
        raise DataError(f"{blocks.images.source}: {len(certificate)} of {count} images could be read; start again")
    return certificate
