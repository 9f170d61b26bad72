"""The search against the bounds: its own mathematics, that it finds an unsound bound, and that ours stand."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F

from .loading import load_tool

search = load_tool("search_bound")


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_symbol_is_that_of_the_periodic_layer(stride: int, dilation: int) -> None:
    layer = search.Layer(3, 2, 3, 6, stride, 0, dilation)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(stride))
    unit = torch.eye(72, dtype=torch.float64).view(72, 2, 6, 6)
    reach = 2 * dilation
    explicit = F.conv2d(F.pad(unit, (0, reach, 0, reach), mode="circular"), weight, None, stride, 0, dilation).flatten(
        1
    )
    norm = float(torch.linalg.svdvals(explicit)[0])
    assert float(search.largest_symbol(layer, weight, 6)) == pytest.approx(norm, rel=1e-12)


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--unsound"], 1)])
def test_a_short_search(
    options: list[str], code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten trials: none beats the proved bound; a circulant of the map's own size is beaten."""
    monkeypatch.setattr(sys, "argv", ["search_bound.py", "--trials", "10", "--steps", "30", *options])
    assert search.main() == code
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED" if code else "ok")
