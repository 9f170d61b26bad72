"""An operator of another package: used where it is wanted, named wherever a figure rests on it, refused by checkers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lip_plugin as lp
from lip_plugin.leaderboard.entry import Certificate as RowCertificate
from lip_plugin.leaderboard.methods import certificate_of_bound
from lip_plugin.network import Dense, Flatten, Head
from lip_plugin.network.operators import OPERATOR_KINDS

from ..conftest import Lip

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from lip_plugin.bounds import NormBound
from lip_plugin.network import Operator, PlainLayer, RoundingTerm


@dataclass(frozen=True, eq=False)
class Negation(Operator):
    """y = -x"""

    kind: ClassVar[str] = "negation"

    def apply(self, x):
        return -x

    def output_shape(self, input_shape):
        return input_shape

    def lipschitz_upper_bound(self, input_shape):
        return NormBound(1.0, "isometry")

    def rounding_term(self, input_shape, unit):
        return RoundingTerm.EXACT

    def windows(self, input_shape):
        return ()

    def work(self, input_shape):
        return 1

    def plain_layer(self, input_shape):
        return PlainLayer("-{x}")

    def describe(self):
        return "negation"
'''
NAMED = "negation (lip_test_negation.Negation)"
Install = Callable[[str, Mapping[str, Mapping[str, str]], str], Path]


@pytest.fixture
def negating(installed: Install) -> Generator[lp.CertifiedClassifier]:
    """-(W x) before a head, by an installed package."""
    installed("lip_test_negation", {"lip_plugin.operators": {"negation": "lip_test_negation:Negation"}}, SOURCE)
    from lip_test_negation import Negation  # type: ignore[import-not-found]  # pyright: ignore

    generator = torch.Generator().manual_seed(0)
    weight, head = torch.randn(4, 12, generator=generator), torch.randn(3, 4, generator=generator)
    negation: Any = Negation()
    yield lp.CertifiedClassifier([Flatten(), Dense(weight), negation], Head(head), input_shape=(3, 2, 2))
    OPERATOR_KINDS.pop("negation", None)


def _forget() -> None:
    """As in another process, which has not imported the package."""
    OPERATOR_KINDS.pop("negation")
    del sys.modules["lip_test_negation"]


def test_certificate_and_bound_name_it(negating: lp.CertifiedClassifier) -> None:
    certificate = lp.certify(negating, torch.rand(2, 3, 2, 2))
    assert certificate.foreign_operators == negating.foreign_operators == (NAMED,)
    method = lp.lipschitz_upper_bound(negating).method
    assert NAMED in method and "not proved" in method
    assert certificate_of_bound(method, "real") is not RowCertificate.SOUND


def test_its_card_names_it_and_it_is_loaded_by_its_entry_point(
    negating: lp.CertifiedClassifier, tmp_path: Path
) -> None:
    negating.save(tmp_path / "net")
    assert json.loads((tmp_path / "net/card.json").read_text())["foreign_operators"] == [NAMED]
    _forget()
    loaded = lp.load_model(tmp_path / "net")
    assert loaded.digest == negating.digest and loaded.foreign_operators == (NAMED,)
    x = torch.rand(5, 3, 2, 2)
    assert torch.equal(loaded(x), negating(x))


def test_without_its_package_it_is_not_loaded(
    negating: lp.CertifiedClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    negating.save(tmp_path / "net")
    _forget()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if "site-packages" not in place or ".venv" in place])
    with pytest.raises(lp.CheckpointError, match=r"unknown operator kind 'negation'.*install the package"):
        lp.load_model(tmp_path / "net")


def test_the_checker_refuses_it(negating: lp.CertifiedClassifier, tmp_path: Path) -> None:
    negating.save(tmp_path / "net")
    command = [sys.executable, str(ROOT / "tools/recheck.py"), str(tmp_path / "net")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "negation" in done.stderr


def test_an_entry_point_of_another_kind_is_refused(installed: Install) -> None:
    from lip_plugin.network.operators.registry import operator_type

    installed("lip_test_liar", {"lip_plugin.operators": {"rotation": "math:sqrt"}}, "")
    with pytest.raises(lp.CheckpointError, match=r"'rotation' of lip_plugin\.operators loads no operator of that kind"):
        operator_type("rotation")


def test_reports_name_it_and_no_board_takes_it(
    negating: lp.CertifiedClassifier, tmp_path: Path, lip: Lip, few_images: Path
) -> None:
    negating.save(tmp_path / "net")
    ran = lip("certify", tmp_path / "net", "--data", few_images, "--out", tmp_path / "out", "--eps", "0.1")
    assert ran.code == 0 and NAMED in ran.out
    assert NAMED in json.loads((tmp_path / "out/report.json").read_text())["lipschitz"]["method"]
    sent = lip("submit", tmp_path / "net", "--board", "own", "--data", few_images, "--out", tmp_path / "bundle")
    assert sent.code == 1 and "operators: found" in sent.err and not (tmp_path / "bundle").exists()


def test_verify_imports_nothing_for_it(
    negating: lp.CertifiedClassifier, tmp_path: Path, lip: Lip, few_images: Path
) -> None:
    """A bundle of an honest network, whose card is exchanged for one that names the operator."""
    honest = lp.CertifiedClassifier(negating.operators[:2], negating.head, input_shape=(3, 2, 2))
    honest.save(tmp_path / "net")
    bundle = tmp_path / "bundle"
    sent = lip(
        "submit",
        tmp_path / "net",
        "--board",
        "own",
        "--data",
        few_images,
        "--out",
        bundle,
        "--attacks",
        "autoattack:apgd-ce",
    )
    assert sent.code == 0, sent.err
    negating.save(tmp_path / "other")
    card = json.loads((bundle / "model/card.json").read_text())
    card["network"] = json.loads((tmp_path / "other/card.json").read_text())["network"]
    (bundle / "model/card.json").write_text(json.dumps(card))
    _forget()
    checked = lip("verify", bundle)
    assert checked.code == 1 and "'negation', no operators of lip-plugin" in checked.out + checked.err
    assert "lip_test_negation" not in sys.modules


@pytest.fixture
def few_images(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (6, 3, 2, 2), generator=generator, dtype=torch.uint8).numpy()
    path = tmp_path / "few.npz"
    np.savez(path, x=images, y=np.array([0, 1, 2, 0, 1, 2]))
    return path
