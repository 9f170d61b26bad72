"""Settings of the whole process while several proofs run, or while somebody changes them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator
from typing import Any

import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.certificates import certify_blocks
from lip_plugin.certificates.arithmetic import certifying_arithmetic

from .closed_form import images, network, numbers

_C: Any = torch._C  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_cudnn_is_off_until_the_last_thread_is_done_and_then_as_before(enabled: bool, order: tuple[int, ...]) -> None:
    """Three threads enter one after the other and leave in every order: by events, without a clock."""
    before = _C._get_cudnn_enabled()
    _C._set_cudnn_enabled(enabled)
    leave = [threading.Event() for _ in range(3)]
    inside = [threading.Event() for _ in range(3)]

    def hold(index: int) -> None:
        with certifying_arithmetic():
            inside[index].set()
            assert leave[index].wait(20)

    threads = [threading.Thread(target=hold, args=(index,)) for index in range(3)]
    try:
        for thread, entered in zip(threads, inside, strict=True):
            thread.start()
            assert entered.wait(20) and not _C._get_cudnn_enabled()
        for place, index in enumerate(order):
            leave[index].set()
            threads[index].join(20)
            assert _C._get_cudnn_enabled() == (enabled if place == 2 else False)
    finally:
        for event in leave:
            event.set()
        _C._set_cudnn_enabled(before)


def test_radii_of_threads_that_overlap_are_those_of_one() -> None:
    models, x = [network(numbers(seed)) for seed in range(3)], images()
    alone = [lp.certify(model, x).radius for model in models]
    found: dict[int, Tensor] = {}

    def work(index: int) -> None:
        for _ in range(5):
            found[index] = lp.certify(models[index], x, batch_size=len(x)).radius

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[index], radius) for index, radius in enumerate(alone))


def test_cudnn_switched_on_during_a_proof_is_noticed() -> None:
    before = _C._get_cudnn_enabled()
    with pytest.raises(lp.ConfigError, match=r"cudnn.enabled was switched on during a proof"), certifying_arithmetic():
        _C._set_cudnn_enabled(True)
    assert _C._get_cudnn_enabled() == before


def test_an_error_inside_is_not_replaced_by_that_of_a_setting() -> None:
    with pytest.raises(KeyError), certifying_arithmetic():
        _C._set_cudnn_enabled(True)
        raise KeyError


@pytest.mark.parametrize("when", ["before", "between blocks"])
def test_flushed_subnormals_are_refused(when: str) -> None:
    """Also where the source of the images switches them off, after the bound was proved."""
    model, x = network(numbers()), images()
    lp.certify(model, x)  # its bound is remembered
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush")
    torch.set_flush_denormal(when == "before")

    def blocks() -> Generator[Tensor]:
        yield x[:2]
        torch.set_flush_denormal(True)
        yield x[2:]

    try:
        with pytest.raises(lp.ConfigError, match="subnormal"):
            certify_blocks(model, blocks())
    finally:
        torch.set_flush_denormal(False)
