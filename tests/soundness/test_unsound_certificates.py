"""Certificates from constants that published code has got wrong: the attacks contradict each, and not ours.

Every network puts the operator at issue before a head along its steepest direction (``tools/canaries.py``), so the
library's own certificate ends at the boundary and one from too small a constant ends behind it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.bounds import conv_norm_estimate, dense_norm_estimate
from lip_plugin.evaluate import Request, compare_certified, get_attack
from lip_plugin.network import Conv, Dense, Flatten, Head, MinMax
from lip_plugin.network.operators import PixelUnshuffle

SAME = (1, 1, 1, 1)


def from_constant(canary: Any, claimed: float) -> lp.Certificate:
    """The certificate with the claimed constant of the map into features in place of the proved one."""
    honest, proved = lp.certify(canary.model, canary.x), lp.lipschitz_upper_bound(canary.model).value
    assert claimed < proved
    return dataclasses.replace(honest, radius=honest.radius * (proved / claimed if claimed > 0 else math.inf))


def assert_caught(canaries: Any, canary: Any, unsound: lp.Certificate) -> None:
    """And that the library's own certificate stands, met by an attack within 0.1 %."""
    assert canaries.closest_call(canary).inflation < 1.001
    with pytest.raises(lp.SoundnessError, match="unsound certificate"):
        canaries.attacked(canary, unsound)


def antisymmetric_kernel() -> Tensor:
    """(2, 2, 3, 3): a blur of norm below 0.9 for the channels' sum, a sharp kernel of norm 1.2 for their difference."""
    mean = torch.full((3, 3), 0.1, dtype=torch.float64)
    sharp = torch.tensor([[0.0, -0.1, 0.0], [-0.1, 0.8, -0.1], [0.0, -0.1, 0.0]], dtype=torch.float64)
    together = torch.ones(2, 2, dtype=torch.float64) / 2
    apart = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64) / 2
    return together[:, :, None, None] * mean + apart[:, :, None, None] * sharp


def test_power_iteration_from_ones_never_sees_what_is_orthogonal_to_ones(canaries: Any) -> None:
    """The difference of the channels is 0 at the start and stays 0 but for rounding: twice the steps do not help."""
    weight = antisymmetric_kernel()
    canary = canaries.before_head([Conv(weight, padding=SAME)], canaries.sides(2, 8, 8))
    ones = torch.ones(1, 2, 8, 8, dtype=torch.float64)
    estimates = [
        float(conv_norm_estimate(weight, input_size=(8, 8), padding=SAME, start=ones, steps=steps)[0])
        for steps in (10, 20)
    ]
    true = float(torch.linalg.svdvals(explicit(weight, 8))[0])
    assert estimates[0] == pytest.approx(estimates[1], rel=1e-3)
    assert max(estimates) < 0.8 * true
    assert_caught(canaries, canary, from_constant(canary, estimates[0]))


def test_ten_steps_of_power_iteration_miss_a_value_that_hides_among_many(canaries: Any) -> None:
    """One direction of 1.05 among 63 of 1, from the random start that training uses."""
    left, right = (torch.linalg.qr(canaries.draw(64, 64, seed=seed)).Q for seed in (1, 2))
    spread = torch.ones(64, dtype=torch.float64)
    spread[0] = 1.05
    weight = left * spread @ right
    estimate, _ = dense_norm_estimate(weight, steps=10)
    assert float(estimate) < 1.05 / 1.01
    canary = canaries.before_head([Flatten(), Dense(weight)], canaries.sides(1, 8, 8))
    assert_caught(canaries, canary, from_constant(canary, float(estimate)))


def test_a_norm_with_something_added_shrinks_small_weights(canaries: Any) -> None:
    """Weights of 1e-5: dividing by (norm + 1e-9), as an early version of gloro did, loses per cents."""
    weight = 1e-5 * canaries.draw(8, 16, seed=1)
    vector = torch.ones(16, dtype=torch.float64)
    for _ in range(500):
        image = weight.T @ (weight @ vector)
        vector = image / (image.norm() + 1e-9)
    estimate = float((weight @ vector).norm())
    converged = float(dense_norm_estimate(weight, steps=500)[0])
    assert estimate < 0.95 * converged
    canary = canaries.before_head([Flatten(), Dense(weight)], canaries.sides(1, 4, 4))
    assert_caught(canaries, canary, from_constant(canary, estimate))


@pytest.mark.parametrize(("size", "claimed"), [(6, 3.0), (2, 0.0)])
def test_a_circulant_of_the_map_s_own_size_is_too_small(canaries: Any, size: int, claimed: float) -> None:
    """[1, 0, -1] along both axes, zero padding: the norm is (2 cos(pi / (n + 1)))^2, above the symbol's largest value.

    On two pixels the wrap-around cancels everything, and the radius would be infinite.
    """
    difference = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    weight = (difference[:, None] * difference).view(1, 1, 3, 3)
    # The FFT crops nothing only from the kernel's size on; below, taps that meet are added.
    folded = torch.zeros(size, size, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            folded[i % size, j % size] += weight[0, 0, i, j]
    circulant = float(torch.fft.fft2(folded).abs().max())
    assert circulant == pytest.approx(claimed, abs=1e-12)
    canary = canaries.before_head([Conv(weight, padding=SAME)], canaries.sides(1, size, size))
    proved = lp.lipschitz_upper_bound(canary.model).value
    assert proved == pytest.approx((2 * math.cos(math.pi / (size + 1))) ** 2, rel=1e-7)
    assert proved > 1.08 * circulant
    assert_caught(canaries, canary, from_constant(canary, circulant))


def test_a_stored_iteration_vector_of_zero_gives_the_constant_zero(canaries: Any) -> None:
    """What a checkpoint with a zero buffer did to published code: every image certified at every radius."""
    weight = canaries.draw(3, 2, 3, 3, seed=4)
    zero = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    estimate, kept = conv_norm_estimate(weight, input_size=(6, 6), padding=SAME, start=zero)
    assert float(estimate) == 0.0 and not bool(kept.any())
    canary = canaries.before_head([Conv(weight, padding=SAME)], canaries.sides(2, 6, 6))
    assert_caught(canaries, canary, from_constant(canary, 0.0))


def test_head_distances_by_a_float32_gram_matrix_vanish(canaries: Any) -> None:
    """Rows 1e-4 apart: ||a||^2 + ||b||^2 - 2 a.b cancels to 0 in float32, and the radius would be infinite."""
    step = canaries.draw(1, 16, seed=51)
    step /= step.norm()
    rows = gram = torch.ones(2, 2)
    for seed in range(50):  # whether all digits cancel depends on the order of the sums, and so on the processor
        rows = (canaries.draw(1, 16, seed=seed) + 5e-5 * torch.cat([step, -step])).float()
        gram = torch.cdist(rows, rows, compute_mode="use_mm_for_euclid_dist")
        if float(gram[0, 1]) == 0.0:
            break
    assert float(gram[0, 1]) == 0.0
    head = Head(rows.double(), -rows.double().sum(dim=1) / 2)
    model = lp.CertifiedClassifier([Flatten()], head, input_shape=(1, 4, 4))
    canary = canaries.Canary(model, (0.5 + 0.03 * step).view(1, 1, 4, 4), torch.tensor([0]))
    honest = lp.certify(model, canary.x)
    assert float(honest.radius) == pytest.approx(0.03, rel=1e-3)
    assert_caught(canaries, canary, dataclasses.replace(honest, radius=honest.margin / gram[0, 1].double()))


def test_leaving_out_every_logit_that_ties_with_the_largest_certifies_a_tie() -> None:
    """gloro's issue 9: only the predicted index may be left out. Here classes 0 and 1 tie, class 2 is 1.5 behind."""
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    model = lp.CertifiedClassifier([Flatten()], Head(weight, torch.tensor([0.0, 0.0, -1.0])), input_shape=(1, 1, 2))
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    honest = lp.certify(model, x)
    assert float(honest.radius) == 0.0
    logits = model(x)
    behind = logits.amax() - logits.masked_fill(logits == logits.amax(), -torch.inf).amax()
    unsound = dataclasses.replace(honest, radius=behind.double().view(1))
    plan = Request(eps=(0.1,), attacks=(get_attack("autoattack:apgd-ce"),), audit=1, batch_size=1)
    assert compare_certified(model, x, y, honest, plan).status == "ok"
    with pytest.raises(lp.SoundnessError, match="unsound certificate"):
        compare_certified(model, x, y, unsound, plan)


def test_a_per_cent_behind_several_isometries_is_caught(canaries: Any) -> None:
    """Orthogonal patches, MinMax, an orthogonal matrix: a deeper network whose constant is 1 throughout."""
    patches = torch.linalg.qr(canaries.draw(8, 8, seed=1)).Q.view(8, 2, 2, 2)
    turn = torch.linalg.qr(canaries.draw(32, 32, seed=2)).Q
    layers = [Conv(patches, stride=(2, 2)), MinMax(), PixelUnshuffle(2), Flatten(), Dense(turn)]
    canary = canaries.before_head(layers, canaries.sides(2, 4, 4), 0.005)
    assert lp.lipschitz_upper_bound(canary.model).value == pytest.approx(1.0, rel=1e-8)
    honest = lp.certify(canary.model, canary.x)
    assert_caught(canaries, canary, canaries.inflated(honest, 1.01))


def explicit(weight: Tensor, size: int) -> Tensor:
    """The 3 x 3 layer, zero padding 1, as a matrix: a row per pixel."""
    pixels = weight.shape[1] * size**2
    unit = torch.eye(pixels, dtype=torch.float64).view(pixels, weight.shape[1], size, size)
    return torch.nn.functional.conv2d(unit, weight, padding=1).flatten(1)
