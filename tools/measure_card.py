"""Measure a model's card again: `lip certify` on the whole test split, AutoAttack beside the proof on its first images.

    python tools/measure_card.py MODEL_DIR --data-dir DIR [--attacked 512] [--use TEXT]

Radii are those of the card. What the card says of the training is kept; figures that do not come out as they stand are
named. The card is written last, and not at all where a certificate is contradicted (exit 1).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import lip_plugin as lp
from lip_plugin.data import load_images
from lip_plugin.evaluate import Report, Request, evaluate_images
from lip_plugin.files import CARD_FILE, write_atomically
from lip_plugin.zoo.card import parse_card, read_card

ATTACK = "autoattack"


def measured(directory: Path, data_dir: Path, attacked: int) -> tuple[Report, Report | None]:
    """On the whole test split with the tight bound, as training does; under attack on the first ``attacked`` images."""
    card, model = read_card(directory), lp.load_model(directory)
    assert card.dataset is not None
    images = load_images(card.dataset, "test", data_dir)
    proofs = evaluate_images(model, images, Request.of(card.eps_grid, tightness=True, bound="tight"), progress=True)
    if not attacked:
        return proofs, None
    with_attacks = Request.of(card.eps_grid, attacks=(ATTACK,), bound="tight")
    return proofs, evaluate_images(model, images.first(attacked), with_attacks, progress=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--attacked", type=int, default=512)
    parser.add_argument("--use")
    asked = parser.parse_args()
    path = asked.directory / CARD_FILE
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    reports = measured(asked.directory, asked.data_dir, asked.attacked)
    broken = [problem for report in reports if report is not None for problem in report.problems]
    if broken:
        print("\n".join(broken))
        return 1
    proofs, under_attack = (None if report is None else report.figures().model_dump() for report in reports)
    assert proofs is not None
    for name, value in proofs.items():
        if name in content["measured"] and content["measured"][name] != value:
            print(f"{name}: {content['measured'][name]} before, now {value}")
    content["measured"] |= proofs | ({} if under_attack is None else {"attacked": under_attack})
    if asked.use is not None:
        content["use"] = asked.use
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    parse_card(text.encode(), str(path))
    write_atomically(path, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
