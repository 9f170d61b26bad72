"""`lip info` says what a person needs to decide on a model, `lip list` finds it; figures come from the card alone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.cli.card_text import card_text
from lip_plugin.schema import Figures
from lip_plugin.types import format_eps
from lip_plugin.zoo import read_card, registry

Lip = Any
EPS = 0.05


@pytest.fixture
def attacked(model_dir: Path, tmp_path: Path) -> tuple[Path, lp.Report]:
    """The model directory saved again with the figures of an evaluation under attack, and that evaluation."""
    model = lp.load_model(model_dir)
    x = torch.rand(16, *model.input_shape, generator=torch.Generator().manual_seed(0))
    y = model.float()(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    report = lp.compare(model, x, y, eps=(EPS, 4 * EPS), attacks=("autoattack:apgd-ce",), audit="all")
    words = lp.Provenance(use="For tests; not for pictures.", licence="MIT")
    model.save(tmp_path / "again", name="Again", card=words, report=report)
    return tmp_path / "again", report


def test_a_card_holds_what_was_attacked_and_how_close_it_came(attacked: tuple[Path, lp.Report]) -> None:
    directory, report = attacked
    found = read_card(directory).measured
    assert found.clean_accuracy == round(100 * 15 / 16, 2)
    assert found.empirical_robust_accuracy == {
        format_eps(result.eps): {
            name: round(100 * share, 2) for name, share in result.empirical_robust_accuracy.items()
        }
        for result in report.eps
    }
    certified = sum(result.counts["certified"] for result in report.eps)
    assert found.audited == certified > 0  # audit="all": every certificate at every radius
    distances, radii = report.points.distance, report.points.certificate.radius
    reached = torch.isfinite(distances) & (radii > 0)
    closest = min((distances[reached] / radii[reached]).tolist(), default=None)
    assert found.smallest_distance_over_radius == (None if closest is None else pytest.approx(closest, rel=1e-3))
    assert found.certify_seconds is not None and found.certified_on == f"cpu, {torch.get_num_threads()} thread(s)"
    assert Figures.model_validate(found.model_dump()) == found


def test_info_says_what_the_card_says(lip: Lip, attacked: tuple[Path, lp.Report]) -> None:
    directory, report = attacked
    card = read_card(directory)
    shown = lip("info", directory).out
    for result in report.eps:
        survived = round(100 * result.empirical_robust_accuracy["autoattack:apgd-ce"], 2)
        proved = round(100 * result.verified_robust_accuracy, 2)
        assert f"{proved} % right and proved (VRA)" in shown
        assert f"{survived} % right after autoattack:apgd-ce; {proved} % proved of 16 test images" in shown
    assert f"{card.measured.audited} certificates were attacked too, none broke" in shown
    assert "For tests; not for pictures." in shown and card.sha256 in shown and card.digest in shown
    assert "assumed" not in shown


def test_its_commands_are_whole_and_run(lip: Lip, attacked: tuple[Path, lp.Report], data_file: Path) -> None:
    directory, _ = attacked
    lines = dict(line.strip().split(maxsplit=1) for line in lip("info", directory).out.splitlines() if " lip c" in line)
    for name in ("certify", "attack"):
        program, *arguments = shlex.split(lines[name], comments=True)
        assert program == "lip"
        small = [str(24) if argument == "512" else argument for argument in arguments]
        out = directory.parent / name
        assert lip(*small[:-1], out, "--data", f"npz:{data_file}", "--quiet").code == 0, lines[name]
        assert (out / "report.json").is_file()


def test_figures_of_a_small_sample_stand_beside_those_of_all_images(model_dir: Path) -> None:
    content = json.loads((model_dir / "card.json").read_text())
    content["dataset"] = "cifar10"
    content["measured"] = {
        "clean_accuracy": 61.5,
        "verified_robust_accuracy": {"36/255": 51.5},
        "images": 10_000,
        "bound": "product of verified operator norms",
        "arithmetic": "real",
        "attacked": {
            "clean_accuracy": 60.0,
            "verified_robust_accuracy": {"36/255": 50.0},
            "empirical_robust_accuracy": {"36/255": {"autoattack": 55.0}},
            "images": 512,
            "audited": 8,
            "smallest_distance_over_radius": 1.25,
        },
    }
    (model_dir / "card.json").write_text(json.dumps(content))
    text = card_text(read_card(model_dir), "NAME")
    assert "61.5 % of all 10,000 test images" in text
    assert "55.0 % right after autoattack; 50.0 % proved of 512 test images" in text
    assert "8 certificates were attacked too, none broke; the closest point found lies at 1.25 radii" in text
    content["measured"]["attacked"]["verified_robust_accuracy"] = {"36/255": 60.5}  # more than the 60 that are right
    (model_dir / "card.json").write_text(json.dumps(content))
    with pytest.raises(lp.CheckpointError, match="measured/attacked"):
        read_card(model_dir)


def test_every_shipped_card_can_be_acted_on() -> None:
    for name in lp.list_models():
        card = lp.model_card(name)
        text = " ".join(card_text(card, name).split())
        for eps, share in (card.measured.verified_robust_accuracy or {}).items():
            assert f"at {eps} {share} % right and proved (VRA)" in text
        for said in (card.use, card.measured.model_dump()["command"], card.licence, f"lip certify {name}"):
            assert said and " ".join(said.split()) in text, (name, said)


@pytest.fixture
def reported_only(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registered model of somebody's, with the figures of a paper and none of its own."""
    monkeypatch.setattr(registry, "_registered", {})
    content = json.loads((model_dir / "card.json").read_text())
    content |= {"name": "Reported", "dataset": "cifar10", "architecture": "comparison block=sll depth=1"}
    figures = {"clean_accuracy": 73.3, "verified_robust_accuracy": {"36/255": 64.8}, "certificate": "by construction"}
    content["reported"] = figures | {"source": "a table"}
    (model_dir / "card.json").write_text(json.dumps(content))
    lp.register_model(model_dir)
    return "Reported"


def test_list_keeps_proved_and_assumed_apart(lip: Lip, reported_only: str) -> None:
    def names(*options: str) -> set[str]:
        rows = json.loads(lip("list", *options, "--json").out)
        shown = lip("list", *options).out.splitlines()[1:]
        assert {row["name"] for row in rows} == {line.split()[0] for line in shown}
        return {row["name"] for row in rows}

    assert names("--proved") | names("--assumed") == names() == set(lp.list_models())
    assert names("--assumed") == {reported_only}
    assert reported_only in names("--family", "SLL") and reported_only not in names("--family", "liresnet_pp")
    assert all("SLL" in name or name == reported_only for name in names("--family", "sll"))
    sizes = {name: lp.model_card(name).params for name in lp.list_models()}
    assert names("--max-params", "600000") == {name for name, size in sizes.items() if size <= 600_000}
    row = next(row for row in json.loads(lip("list", "--json").out) if row["name"] == reported_only)
    assert (row["certificate"], row["clean_accuracy"]) == ("assumed", 73.3)
    text = card_text(lp.model_card(reported_only), reported_only)
    assert "64.8 % right and certified, by construction (VRA)" in text and "assumed" in text


def test_options_that_do_not_go_together_are_refused(lip: Lip) -> None:
    for options in (["--family", "sll"], ["--max-params", "5"], ["--proved"], ["--assumed"]):
        refused = lip("list", "--datasets", *options)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
