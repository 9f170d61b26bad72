"""Small files that ask for hours or for tens of GB: said from their shapes before anything is done."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import torch

import lip_plugin as lp
from lip_plugin.bounds import conv_norm_upper_bound
from lip_plugin.certificates.together import merged
from lip_plugin.network import AvgPool, ChannelShuffle, Conv, Dense, Flatten, Head, MaxPool, Operator, Scale
from lip_plugin.network.limits import check_size, images_at_once, network_work
from lip_plugin.verification.cost import require_time

Shape = tuple[int, int, int]
SECOND = 2.0**34


def _kernel(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) / 10


def _around(size: int) -> tuple[int, int, int, int]:
    return size, size, size, size


def _network(operators: Sequence[Operator], shape: Shape) -> lp.CertifiedClassifier:
    inside: tuple[int, ...] = shape
    for operator in operators:
        inside = operator.output_shape(inside)
    return lp.CertifiedClassifier(operators, Head(_kernel(2, inside[0])), input_shape=shape)


def _convs(count: int, channels: int, kernel: int) -> list[Operator]:
    return [Conv(_kernel(channels, channels, kernel, kernel), padding=_around(kernel // 2))] * count


def _ends(size: int) -> list[Operator]:
    """A map to one number per channel."""
    return [AvgPool((size, size), (size, size)), Flatten()]


MOVES = [Scale(torch.tensor(1.01)), ChannelShuffle(2)]
LONG: dict[str, tuple[Sequence[Operator], Shape, int]] = {
    "many small layers on a large map": ([*_convs(1000, 1, 3), *_ends(1000)], (1, 1000, 1000), 1),
    "wide layers on a large map": ([Conv(_kernel(32, 1, 1, 1)), *_convs(20, 32, 3), *_ends(500)], (1, 500, 500), 24),
    "wide strips": ([*_convs(200, 1, 33), Flatten()], (1, 120, 120), 1),
    "pools that overlap": ([MaxPool((500, 500), (1, 1)), *_ends(501)], (1, 1000, 1000), 24),
    "entries that move": ([*MOVES * 2000, *_ends(1024)], (16, 1024, 1024), 4),
}


@pytest.mark.parametrize("name", LONG)
def test_what_takes_hours_is_said_before_it_is_begun(name: str) -> None:
    operators, shape, images = LONG[name]
    check_size(operators, shape)  # lawful
    model = _network(operators, shape)
    started = time.monotonic()
    with pytest.raises(lp.ConfigError, match=r"^bundle is not verified: .* 60 s are allowed, --time-limit"):
        require_time(model, images, 60 / torch.get_num_threads(), "bundle")
    assert time.monotonic() - started < 10
    require_time(model, images, 1e9, "bundle")


QUICK: dict[str, tuple[Sequence[Operator], Shape]] = {
    "dense": ([Flatten(), Dense(_kernel(300, 300))], (300, 1, 1)),
    "many dense": ([Flatten(), *[Dense(_kernel(10, 10))] * 300], (10, 1, 1)),
    "a large map": ([*_convs(1, 1, 3), *_ends(500)], (1, 500, 500)),
    "channels": ([Conv(_kernel(48, 1, 1, 1)), *_convs(1, 48, 3), *_ends(28)], (1, 28, 28)),
    "strips": ([*_convs(20, 1, 3), *_ends(48)], (1, 48, 48)),
    "channels alone": ([Conv(_kernel(400, 1, 1, 1)), *_convs(1, 400, 1), *_ends(28)], (1, 28, 28)),
}


@pytest.mark.parametrize("name", QUICK)
def test_the_proof_takes_about_as_long_as_its_shapes_say(name: str) -> None:
    """Within a factor that a busy or a fast machine, and the first call of a kernel, may make of it."""
    operators, shape = QUICK[name]
    model = _network(operators, shape)
    lp.lipschitz_upper_bound(_network([Conv(_kernel(2, 1, 3, 3)), Flatten()], (1, 4, 4)))
    started = time.process_time()
    lp.lipschitz_upper_bound(model)
    taken = time.process_time() - started
    said = network_work(model.layers, shape)[1] / SECOND
    assert said / 60 - 0.1 < taken < 60 * said + 1.0, (said, taken)


def test_images_go_through_in_blocks_that_fit() -> None:
    """A block's largest activation, with the windows that torch copies, stays below 1 GB in float64."""
    wide = Conv(_kernel(64, 64, 3, 3), padding=_around(1))
    assert images_at_once([wide], (64, 8, 8), 256) == 256
    one = 64 * 9 * 224 * 224 + 2 * 64 * 224 * 224  # windows, input, output
    assert images_at_once([wide], (64, 224, 224), 256) == 2**27 // one == 3
    assert images_at_once([AvgPool((2, 2), (2, 2))], (1, 4096, 4096), 256) == 6
    with pytest.raises(lp.UnsupportedLayerError, match="entries at once; at most"):
        check_size([Conv(_kernel(1, 1, 500, 500))], (1, 1000, 1000))


def test_a_selection_that_would_take_gigabytes_is_not_made() -> None:
    """A kernel of 1000 at strides of 999 along 2^17 pixels: 137 GB, for strips of one row that cost nothing else."""
    bound = conv_norm_upper_bound(_kernel(1, 1, 1, 1000), input_size=(1, 2**17), stride=(1, 999))
    assert bound.method == "circulant embedding"


def test_a_scale_is_not_carried_through_a_whole_network() -> None:
    """Each step moves an activation, for every scale: quadratic in the layers."""
    scales = [Scale(torch.tensor([2.0, 3.0])), *[ChannelShuffle(1)] * 40, Conv(_kernel(1, 2, 1, 1))]
    near = [*scales[:3], scales[-1]]
    found = merged(near, [(2, 4, 4)] * len(near))
    assert found[0] is None
    assert merged(scales, [(2, 4, 4)] * len(scales))[0] is not None
