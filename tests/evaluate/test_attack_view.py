"""What attacks get to see of a network, and how they are named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lip_plugin.errors import ConfigError
from lip_plugin.evaluate.attacks import get_attack, parse_attack_spec
from lip_plugin.evaluate.view import AttackView
from lip_plugin.network import CertifiedClassifier
from lip_plugin.wrapping import wrap


def small_model() -> CertifiedClassifier:
    torch.manual_seed(0)
    return wrap(nn.Sequential(nn.Flatten()).eval(), nn.Linear(16, 3).eval(), input_shape=(1, 4, 4))


def test_views_scale_shift_and_count() -> None:
    model = small_model()
    x = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    view = AttackView(model)
    assert view.num_classes == 3
    scaled = view.rescaled(x, median_margin=8.0)
    margins = scaled(x).topk(2, dim=1).values.diff(dim=1).abs()
    assert float(margins.median()) == pytest.approx(8.0, rel=1e-4)
    shifted = scaled.shifted()(x)
    assert float(shifted.min()) == 1.0
    assert torch.equal(shifted.argmax(dim=1), model(x).argmax(dim=1))
    assert torch.allclose(shifted.diff(dim=1), scaled(x).diff(dim=1), atol=1e-4)
    assert view.forwards == 9 * 4
    assert view.rescaled(x, positive=True)(x).amin() == 1.0


def test_specifications() -> None:
    spec = parse_attack_spec("torchattacks:CW?c=0.5&steps=20&loss=ce")
    assert (spec.library, spec.variant, dict(spec.settings)) == (
        "torchattacks",
        "CW",
        {"c": 0.5, "steps": 20, "loss": "ce"},
    )
    for text in ("", ":CW", "a?b", "a?=1", "a?1x=2"):
        with pytest.raises(ConfigError):
            parse_attack_spec(text)
    with pytest.raises(ConfigError, match=r"no attack library 'torchattack'; known: .*Did you mean 'torchattacks'"):
        get_attack("torchattack:CW")
