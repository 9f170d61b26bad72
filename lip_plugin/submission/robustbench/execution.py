"""The network in plain torch, run: what a foreign board would run must give the labels that are certified."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lip_plugin.data import LabelledImages
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.limits import images_at_once
from lip_plugin.submission.robustbench.architecture import architecture_source, class_name
from lip_plugin.submission.robustbench.state_dict import plain_state_dict

_BLOCK = 256


def plain_network(model: CertifiedClassifier, name: str) -> nn.Module:
    """``architecture.py`` as written from the network itself, never a stranger's file, with the tensors of ``NAME.pt``.

    `state_dict_bytes` reads that file back and compares; `lip verify` holds a bundle's against it.
    """
    scope: dict[str, Any] = {}
    exec(compile(architecture_source(model, name), "architecture.py", "exec"), scope)
    plain: nn.Module = scope[class_name(name)]()
    plain.load_state_dict(plain_state_dict(model), strict=True)
    return plain.to(model.device).eval()


def other_labels(model: CertifiedClassifier, name: str, images: LabelledImages, prediction: Tensor) -> list[int]:
    """The images, by index, that the network in plain torch labels otherwise than ``prediction`` (N,) on the CPU."""
    plain, found, start = plain_network(model, name), list[int](), 0
    with torch.no_grad():
        for x, _ in images.blocks(images_at_once(model.layers, model.input_shape, _BLOCK), model.dtype):
            logits = plain(x.to(model.device)).cpu()
            differs = (logits.argmax(dim=1) != prediction[start : start + len(x)]) | ~logits.isfinite().all(dim=1)
            found += [start + index for index in differs.nonzero().flatten().tolist()]
            start += len(x)
    return found
