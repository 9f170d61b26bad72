"""What a card says reaches the terminal as text: no escape sequences, no markup, no lines that pass for others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.untrusted import few, is_plain_name, is_plain_text, printable
from lip_plugin.zoo import registry

ESCAPES = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x00", "\x7f", "\x08\x08", "\u202e", "\u2066", "\u2028", "\udfff"]


@pytest.fixture(autouse=True)
def _clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("key", ["name", "dataset", "architecture", "licence", "bibtex", "measured", "a key"])
def test_no_control_character_reaches_the_terminal(
    key: str, escape: str, forge: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"before{escape}after"
    forge.card.update({text: 1} if key == "a key" else {key: {text: text} if key == "measured" else text})
    for command in (["info", str(forge.write())], ["info", str(forge.directory), "--json"]):
        assert run(command) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err[:-1].isprintable()
        assert err.count("\n") == 1


def test_a_line_break_in_a_text_does_not_make_another_entry(forge: Any, capsys: pytest.CaptureFixture[str]) -> None:
    false = f"\ndigest           {'0' * 64}"
    forge.card.update(licence=f"MIT{false}", reported={"source": f"us{false}", f"key{false}": 1})
    assert run(["info", str(forge.write())]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("  digest ")] == [forge.card["digest"]]
    assert sum("0" * 64 in line for line in lines) == 3


CLAIMS = ["all of it", ["100"], 1e300, {"0.1\n\n": ["a\nb"]}, {"0.1\n\n": 5}, {"a": {"b": {}}}]


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_that_are_no_figures_are_refused_in_one_line(
    claim: object, forge: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    forge.card.update(measured={"verified_robust_accuracy": claim})
    assert run(["info", str(forge.write())]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and err[:-1].isprintable()
    assert "card.json: measured/verified_robust_accuracy" in err


@pytest.mark.parametrize("claim", [*CLAIMS, None])
def test_claims_of_any_form_are_listed_in_one_line(
    claim: object, forge: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    forge.card.update(measured={"verified": claim, "clean_accuracy": None, "verified_robust_accuracy": None})
    lp.register_model(forge.write())
    for options in ([], ["--json"]):
        assert run(["list", *options]) == 0
    assert run(["info", str(forge.directory)]) == 0
    rows, keys = len(lp.list_models()), 6
    table = capsys.readouterr().out.split("\n]\n")[0].splitlines()
    assert len(table) == 1 + rows + 1 + rows * (keys + 2)  # a line for each model, and for each of its values in JSON


def test_markup_in_a_name_is_a_part_of_it(forge: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Rich would raise on a closing tag and paint the table in the model's colours."""
    name = "[red]model[bold] :smile: [x]"
    forge.card.update(name=name)
    np.savez(tmp_path / "images.npz", x=np.full((2, 2, 6, 6), 0.5), y=np.zeros(2, int))
    assert run(["certify", str(forge.write()), "--data", str(tmp_path / "images.npz"), "--quiet"]) == 0
    assert name in capsys.readouterr().out


def test_names_and_texts() -> None:
    assert all(map(is_plain_name, ["a", "Lai2025Enhancing_BRONet", "Müller (k=3)", "模型", "a" * 200, "a.b"]))
    assert not any(map(is_plain_name, ["", " a", "a ", ".", "..", "a/b", "a\\b", "a\n", "\t", "a" * 201, "a\u200bb"]))
    assert is_plain_text("two\nlines\tand a tab, 模型")
    assert not any(is_plain_text(f"a{escape}b") for escape in [*ESCAPES, "\r"])


def test_escaped_text_is_printable_and_short() -> None:
    for escape in ESCAPES:
        assert printable(f"a{escape}b").isprintable()
    assert printable("a" * 100, longest=10) == "a" * 10 + "..."
    assert few([]) == "none"
    assert few(["a", "\n"]) == "'a', '\\n'"
    assert few(map(str, range(10))) == "'0', '1', '2', '3' and 6 more"
