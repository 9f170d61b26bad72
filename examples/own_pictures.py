"""Your own pictures, network and training loop, from a folder to a verified entry on a board: read from top to bottom.

usage: python examples/own_pictures.py DIR [--size 32] [--epochs 15] [--out out/own_pictures]

DIR holds train/CLASS/*.jpg and val/CLASS/*.jpg (or test), one folder of pictures for each class, as Imagenette does.
Needs the extras train (it decodes pictures) and autoattack: pip install 'lip-plugin[train,autoattack]'
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lip_plugin as lp
from lip_plugin.data import load_images, load_into_memory

EPS = 36 / 255  # the L2 radius to be proved, for pixels in [0,1]
ATTACK = "autoattack:apgd-ce"  # one of AutoAttack's four; all of them: autoattack


class MaxMin(nn.Module):
    """Pairs of channels, sorted: unlike ReLU it passes all of its gradient on."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)


class Block(nn.Module):
    """x + conv(x) is one linear map, whose bound is tighter than that of x + f(x): see docs/residual_blocks.md."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=0.1 / (9 * width) ** 0.5)  # near the identity
        self.sort = MaxMin()

    def forward(self, x: Tensor) -> Tensor:
        sorted_: Tensor = self.sort(x + self.conv(x))
        return sorted_


def make_features(size: int, width: int = 32, depth: int = 3) -> nn.Sequential:
    """Patches of 4 x 4 pixels, residual blocks, patches of 2 x 2, and a dense layer of 256."""
    layers = nn.Sequential(
        nn.Conv2d(3, width, 4, stride=4), MaxMin(),
        *(Block(width) for _ in range(depth)),
        nn.Conv2d(width, 2 * width, 2, stride=2), MaxMin(),
        nn.Flatten(), nn.Linear(2 * width * (size // 8) ** 2, 256), MaxMin(),
    )  # fmt: skip
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)  # a product of norms near 1 to begin with
    return layers


def train(features: nn.Sequential, head: nn.Linear, loader: DataLoader[tuple[Tensor, ...]], epochs: int) -> None:
    """A loop like any other, but for two lines: the estimate, and EMMA in the place of cross-entropy.

    Eps grows to 1.5 times the radius to be proved in the first half; the learning rate rises and falls.
    """
    shape = tuple(next(iter(loader))[0].shape[1:])
    optimiser = torch.optim.AdamW([*features.parameters(), *head.parameters()], lr=3e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * len(loader), pct_start=0.1)
    state = lp.EstimateState()  # keeps the power iteration warm from step to step
    for epoch in range(epochs):
        eps, total = EPS * min(1.5, 0.1 + 2.8 * epoch / epochs), 0.0
        for x, y in loader:
            x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, x.flip(3))  # mirrored or not
            pair = lp.pair_lipschitz_estimate(features, head, input_shape=shape, state=state)
            loss = lp.losses.emma_loss(head(features(x)), y, pair_lipschitz=pair, eps=eps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {epochs}: eps {eps:.3f}, loss {total / len(loader):.3f}", flush=True)


def lip(*words: object) -> None:
    """A command as you would type it, of this very Python, whatever PATH says. Where it fails, so do we."""
    command = [str(word) for word in words]
    print("\n$", shlex.join(["lip", *command]), flush=True)
    code = subprocess.run([sys.executable, "-m", "lip_plugin", *command], check=False).returncode
    if code:
        sys.exit(code)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dir", type=Path, metavar="DIR", help="holds train/CLASS/*.jpg and val/CLASS/*.jpg, or test")
    parser.add_argument("--size", type=int, default=32, help="pixels of a side, a multiple of 8 (default 32)")
    parser.add_argument("--epochs", type=int, default=15, help="passes over the pictures (default 15)")
    parser.add_argument("--out", type=Path, default=Path("out/own_pictures"), help="a new folder for what is made")
    given = parser.parse_args()
    if given.size < 8 or given.size % 8 or given.epochs < 1:
        parser.error("--size must be a multiple of 8, and --epochs at least 1")
    if given.out.exists():  # said now, not after the training
        parser.error(f"{given.out} exists; give another --out")
    return given


def main() -> None:
    given = arguments()
    out, name = given.out, f"Own_{given.dir.resolve().name}"
    attack = lp.get_attack(ATTACK)  # now: a missing extra ends here, and not after the training
    torch.manual_seed(0)

    # --- pictures: read as every command reads them, so that what is trained on is what is certified ---
    where = f"folder:{given.dir}?size={given.size}"
    training, held_out = (load_into_memory(load_images(where, split)) for split in ("train", "test"))
    assert training.manifest is not None  # of a folder there always is one
    classes = training.manifest.classes
    print(f"{len(training):,} pictures to train on, {len(held_out):,} kept aside; classes: {', '.join(classes)}")

    # --- train ---
    features, head = make_features(given.size), nn.Linear(256, len(classes))
    batches = DataLoader(TensorDataset(*training.tensors(torch.float32)), batch_size=128, shuffle=True)
    train(features, head, batches, given.epochs)

    # --- wrap: a frozen network of known operators, which is what runs, is certified and saved from here on ---
    model = lp.wrap(features.eval(), head.eval(), input_shape=(3, given.size, given.size), name=name)
    print(model)

    # --- certify: a proved radius for every picture that was kept aside ---
    x, y = held_out.tensors(model.dtype)
    certificate = lp.certify(model, DataLoader(TensorDataset(x, y), batch_size=256))
    print(certificate)
    print(f"clean {(certificate.prediction == y).double().mean():.2%}, ", end="")
    print(f"proved at 36/255 {lp.verified_robust_accuracy(certificate, y, EPS):.2%}")

    # --- compare: attacks beside the proof, on every so many pictures, which lie in the order of their classes ---
    every = max(1, len(y) // 32)
    report = lp.compare(model, x[::every], y[::every], eps=(EPS, 2 * EPS), attacks=attack, audit=2)
    print(report)
    report.save(out / "compared")

    # --- save: with a card that says whose it is, what its classes are called, and what is proved of all pictures ---
    card = lp.Provenance(authors="A. Author", licence="MIT", additional_data=False)
    proofs = lp.compare(model, x, y, eps=(EPS, 2 * EPS), attacks=())
    model.save(out / name, class_names=classes, card=card, report=proofs)

    # --- add, list: known by its name from now on; of this example only in OUT/models, unless you say where ---
    os.environ.setdefault("LIP_PLUGIN_MODELS", str(out / "models"))
    lip("add", out / name)
    lip("list")

    # --- submit to our own board, with the pictures, so that whoever has the bundle can verify it ---
    some = ("--data", where, "--every", every, "--attacks", ATTACK, "--audit", 2, "--include-images")
    lip("submit", name, "--board", "own", *some, "--out", out / "bundle", "--quiet")
    lip("verify", out / "bundle")
    lip("leaderboard", out / "bundle", "--verify", "--out", out / "board")
    print(f"See {out / 'board' / 'index.html'}, or leaderboard.md beside it")


if __name__ == "__main__":
    main()
