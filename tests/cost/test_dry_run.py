"""Operations and bytes that are counted without numbers are those of the code with numbers, and of formulas by hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from lip_plugin.cost.dry_run import DryRun


def test_products_are_counted_in_their_dtype() -> None:
    with DryRun() as run:
        a, x = torch.rand(10, 20), torch.rand(3, 4, 8, 8, dtype=torch.float64)
        _ = a @ a.mT
        F.conv2d(x, torch.rand(5, 4, 3, 3, dtype=torch.float64))
        _ = a.to(torch.bfloat16).mT @ a.to(torch.bfloat16)
    float64 = 2 * 3 * 5 * 6 * 6 * 4 * 9
    assert run.flops == {torch.float32: 2 * 10 * 20 * 10, torch.float64: float64, torch.bfloat16: 2 * 20 * 10 * 20}


def test_complex_products_factorisations_and_transforms_are_counted_in_real_operations() -> None:
    with DryRun() as run:
        c = torch.rand(6, 6, dtype=torch.complex64)
        _ = c @ c
        run.flops, products = type(run.flops)(), run.flops
        torch.linalg.cholesky(torch.rand(2, 30, 30))
        torch.linalg.solve_triangular(torch.rand(30, 30), torch.rand(30, 7), upper=False)
        torch.linalg.solve(torch.rand(30, 30), torch.rand(30, 7))
        run.flops, solutions = type(run.flops)(), run.flops
        torch.fft.rfft2(torch.rand(3, 16, 16))
    assert products == {torch.float32: 8 * 6**3}
    assert solutions == {torch.float32: 2 * 30**3 // 3 + 30 * 30 * 7 + 2 * 30**3 // 3 + 2 * 30 * 30 * 7}
    assert run.flops == {torch.float32: 2.5 * 3 * 256 * math.log2(256)}


def test_bytes_are_those_of_storages_that_are_alive() -> None:
    with DryRun() as run:
        a = torch.rand(100, 100)
        b = a[0]
        c = a * 2
        assert run.held == 2 * 40_000
        del c
        assert (run.held, run.peak) == (40_000, 80_000)
        del a
        assert run.held == 40_000, "a view keeps its storage"
        run.restart()
        _ = b.double()
        assert run.peak == 40_800


def test_nothing_is_allocated_and_numbers_are_answered() -> None:
    with DryRun() as run:
        huge = torch.rand(10**6, 10**6)
        assert (float(huge.max()), int(huge.argmax()), bool((huge > 0).any())) == (0.5, 0, False)
        assert huge.nonzero().shape == (0, 2)
    assert run.peak > 4 * 10**12
