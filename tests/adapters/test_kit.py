"""Attacks of other libraries through the test kit, with small budgets."""

from __future__ import annotations

import pytest

from lip_plugin.evaluate import EmpiricalAttack
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.testing import AttackTests

REACH = {
    "foolbox:DDN?steps=30": 1.01,
    "torchattacks:PGDL2?steps=50": 1.01,
    "autoattack:apgd-ce?n_iter=50": 1.01,
}
"""Specification -> eps over distance at which every image must be broken."""


@pytest.mark.parametrize("spec", REACH)
class TestAttacks(AttackTests):
    """One class for all: `spec` is put in by the fixture."""

    strength = 1.0

    @pytest.fixture(autouse=True)
    def _choose(self, spec: str) -> None:
        self._spec, self.reach = spec, REACH[spec]

    def make(self) -> EmpiricalAttack:
        return get_attack(self._spec)
