"""Changes in place: read where they reach only what the module goes on with, refused where a view brings them along.

Bounds of `lp.lipschitz_upper_bound` are compared with an explicit Jacobian: nothing there tries the module out.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.wrapping import operators_of

SHAPE = (1, 4, 4)


class _Own(nn.Module):
    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16, 16).double()
        self.own = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self.first(x.flatten(1)))


def _through(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(h: Tensor) -> Tensor:
        view(h).mul_(1000.0)
        return h

    return forward


def _before(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(h: Tensor) -> Tensor:
        seen = view(h)
        h.mul_(1000.0)
        return seen.flatten(1)

    return forward


def _hardtanh_of_a_slice(h: Tensor) -> Tensor:
    F.hardtanh(h[:, :8], -0.1, 0.1, inplace=True)
    return h


def _cat_of_what_was_changed(h: Tensor) -> Tensor:
    a, b = h.chunk(2, 1)
    a *= 1000.0
    return torch.cat([h, b], 1)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda h: h.view(-1, 4, 4),
    "a slice": lambda h: h[:, 2:],
    "a chunk": lambda h: h.chunk(2, 1)[0],
    "unsqueeze": lambda h: h.unsqueeze(1),
    "transpose": lambda h: h.view(-1, 4, 4).transpose(1, 2),
    "detach": lambda h: h.detach(),
    "contiguous": lambda h: h.contiguous(),
    "the dtype it has": lambda h: h.double(),
    "dropout in eval mode": lambda h: F.dropout(h, training=False),
    "a positive sign": lambda h: +h,
    "a view of a view": lambda h: h.view(-1, 4, 4)[:, 1],
}

REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    **{f"through {name}": _through(view) for name, view in VIEWS.items()},
    **{f"before {name} is used": _before(view) for name, view in VIEWS.items()},
    "an activation": _hardtanh_of_a_slice,
    "a chunk with its source": _cat_of_what_was_changed,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_view_changed_is_refused(name: str) -> None:
    module = _Own(REFUSED[name]).eval()
    with pytest.raises(lp.UnsupportedLayerError, match=r"changed in place .* clone"):
        lp.lipschitz_upper_bound(module, input_shape=SHAPE)


def _returned(h: Tensor) -> Tensor:
    return h.view(-1, 4, 4).mul_(3.0).flatten(1)


def _itself(h: Tensor) -> Tensor:
    h += 1.0
    h *= 3.0
    return h.relu_()


def _of_a_copy(h: Tensor) -> Tensor:
    twin = h.clone()
    twin.view(-1, 4, 4).mul_(7.0)
    return h


def _of_what_cat_gave(h: Tensor) -> Tensor:
    both = torch.cat([h, h.flip(1)], 1)
    both *= 0.5
    return both[:, :16] + h


def _inplace_by_a_number(h: Tensor) -> Tensor:
    F.leaky_relu(h, 5.0, inplace=1)  # pyright: ignore[reportArgumentType]
    return h


def _views_made_afterwards(h: Tensor) -> Tensor:
    h.mul_(3.0)
    return h.view(-1, 4, 4).flatten(1)


@pytest.mark.parametrize(
    "forward",
    [_returned, _itself, _of_a_copy, _of_what_cat_gave, _inplace_by_a_number, _views_made_afterwards],
    ids=lambda forward: forward.__name__,
)
def test_what_reaches_nothing_else_is_read(forward: Callable[[Tensor], Tensor]) -> None:
    module = _Own(forward).eval()
    bound = lp.lipschitz_upper_bound(module, input_shape=SHAPE).value
    stretch = 0.0
    for seed in range(5):
        x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda x: module(x.clone()), 10 * x).flatten(0, 1).flatten(1)  # pyright: ignore
        stretch = max(stretch, float(torch.linalg.matrix_norm(jacobian, ord=2)))
    assert 0.2 * bound <= stretch <= bound * (1 + 1e-9)


def test_fixed_numbers_changed_by_the_activation_are_refused() -> None:
    sums = torch.zeros(7, 16, dtype=torch.float64)

    def forward(h: Tensor) -> Tensor:
        sums.add_(h)
        return h

    with pytest.raises(lp.UnsupportedLayerError, match="fixed numbers in place"):
        lp.lipschitz_upper_bound(_Own(forward).eval(), input_shape=SHAPE)


@pytest.mark.parametrize(
    "convert",
    [
        lambda h: h.half().double(),
        lambda h: h.bfloat16().double(),
        lambda h: h.float().double(),
        lambda h: h.type(torch.HalfTensor).double(),
        lambda h: h.type("torch.FloatTensor").double(),
        lambda h: h.to(torch.float16).to(torch.float64),
        lambda h: h.type_as(torch.zeros(1)).double(),
    ],
)
def test_conversions_that_round_are_refused(convert: Callable[[Tensor], Tensor]) -> None:
    """A grid of numbers is no continuous function."""
    with pytest.raises(lp.UnsupportedLayerError, match="keep one dtype"):
        lp.lipschitz_upper_bound(_Own(convert).eval(), input_shape=SHAPE)


def test_conversions_to_what_it_is_are_read() -> None:
    other = torch.zeros(1, dtype=torch.float64)
    module = _Own(lambda h: h.to(h.dtype).double().to(other).type_as(h).to("cpu", torch.float64, copy=True)).eval()
    assert lp.wrap(nn.Sequential(module, nn.Linear(16, 3).double()).eval(), input_shape=SHAPE).num_classes == 3


def test_sorting_the_batch_is_refused() -> None:
    with pytest.raises(lp.UnsupportedLayerError, match="msort"):
        lp.lipschitz_upper_bound(_Own(torch.msort).eval(), input_shape=SHAPE)


class _Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        x *= 3.0
        return x


def test_a_module_that_changes_its_image_is_compared_on_images_of_its_own() -> None:
    module = nn.Sequential(_Centred(), nn.SiLU(inplace=True), nn.Flatten(), nn.Linear(16, 3)).eval()
    model = lp.wrap(module, input_shape=SHAPE)
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(x), module(x.clone()), atol=1e-5)


class _WrittenThenChanged(nn.Module):
    """What is written into another tensor is copied there: a change afterwards does not reach it."""

    def forward(self, x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        first = x[:, :1] - 0.5
        out[:, :1] = first
        first.relu_()
        out[:, 1:] = x[:, 1:] * 2.0
        return out + 0.0 * torch.cat([first, x[:, 1:]], 1)


class _JoinedThenChanged(nn.Module):
    """The second of two equal joins is not touched by what happens to the first."""

    def forward(self, x: Tensor) -> Tensor:
        one, other = x.relu(), x.tanh()
        changed = torch.cat([one, other], 1).sub_(0.5).abs_()
        return changed + torch.cat([one, other], 1)


@pytest.mark.parametrize("module", [_WrittenThenChanged(), _JoinedThenChanged()])
def test_later_changes_in_place_reach_no_copy(module: nn.Module) -> None:
    operators = operators_of(module.eval(), "module", (2, 4, 4))
    x = torch.rand(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = x
    for operator in operators:
        found = operator.apply(found)
    assert torch.allclose(found, module(x.clone()), atol=1e-6)


def test_a_view_taken_before_a_slice_is_written_is_refused() -> None:
    class Viewed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            view = x[:, :1]
            x[:, :1] = x[:, :1] * 1000.0
            return view

    with pytest.raises(lp.UnsupportedLayerError, match="changed in place"):
        operators_of(Viewed().eval(), "module", SHAPE)


IN_THE_SAME_MEMORY: dict[str, Callable[[Tensor], Tensor]] = {
    "flatten": lambda x: x.flatten(1),
    "the module Flatten": nn.Flatten(),
    "channel shuffle": lambda x: F.channel_shuffle(x, 1),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 1),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 1),
}
"""Torch gives a view by some of them always, by others on some devices."""


@pytest.mark.parametrize("name", IN_THE_SAME_MEMORY)
@pytest.mark.parametrize("changed", ["the view", "the activation"])
def test_operators_that_move_entries_may_give_views(name: str, changed: str) -> None:
    """Clamped where random images do not reach, so that comparing them shows nothing."""

    class Clamped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            h = x.relu()
            view = IN_THE_SAME_MEMORY[name](h)
            (view if changed == "the view" else h).clamp_(-1e6, 1e6)
            return h if changed == "the view" else view

    with pytest.raises(lp.UnsupportedLayerError, match="changed in place"):
        operators_of(Clamped().eval(), "module", (4, 2, 2))


def test_what_goes_on_after_a_change_of_the_flattened_activation_is_read() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(8, 3)).double().eval()
    network = lp.wrap(module, input_shape=SHAPE)
    x = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert [one.kind for one in network.layers] == ["conv", "flatten", "activation", "head"]
    assert torch.allclose(network(x), module(x))


def test_entries_that_are_still_to_be_written_are_copied_nowhere() -> None:
    class CopiedTooEarly(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            part, out = torch.empty_like(x), x.clone()
            part[:, :1] = x[:, :1].clamp(-1e6, 1e6)
            out[:, :1] = part[:, :1]
            return out

    with pytest.raises(lp.UnsupportedLayerError, match="before they are written"):
        operators_of(CopiedTooEarly().eval(), "module", (2, 4, 4))


def test_an_index_that_is_changed_after_a_slice_was_written_is_read_as_it_was() -> None:
    class Advancing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out, place, places = torch.empty_like(x), torch.tensor([0, 1]), [0]
            out[:, place] = 2.0 * x[:, place]
            place += 2
            out[:, place] = 3.0 * x[:, place]
            twice = torch.empty_like(out)
            twice[:, places] = out[:, places]
            places[0] = 3
            twice[:, 1:] = 5.0 * out[:, 1:]
            return twice

    operators = operators_of(Advancing().eval(), "module", (4, 2, 2))
    x = torch.rand(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    found = x
    for operator in operators:
        found = operator.apply(found)
    assert torch.allclose(found, x * torch.tensor([2.0, 10.0, 15.0, 15.0]).view(-1, 1, 1), atol=1e-6)
