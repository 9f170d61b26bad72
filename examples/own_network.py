"""Certify your own torch network on your own images, and see the proof beside an attack.

usage: python examples/own_network.py
"""

from __future__ import annotations

import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.data import load_shipped


def train(network: nn.Sequential, x: torch.Tensor, y: torch.Tensor, steps: int = 200) -> None:
    """Plain cross-entropy with weight decay: nothing about it is certified training."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1.0)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()


def main() -> None:
    torch.manual_seed(0)
    x, y = load_shipped("fashion_mnist").tensors(torch.float32)
    features = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 32), nn.ReLU())
    head = nn.Linear(32, 10)
    train(nn.Sequential(features, head), x[:400], y[:400])

    model = lp.wrap(features.eval(), head.eval(), input_shape=(1, 28, 28))
    report = lp.compare(model, x[400:464], y[400:464], eps=("36/255", 0.5), attacks=("autoattack:apgd-t",))
    for result in report.eps:
        attacked = result.empirical_robust_accuracy["autoattack:apgd-t"]
        print(f"eps {result.eps:.3f}: proved {result.verified_robust_accuracy:.1%}, survives APGD-T {attacked:.1%}")

    model.save("out/own_network")  # `lip certify out/own_network --data FILE.npz` takes it from here
    print("saved to out/own_network, digest", model.digest[:12])


if __name__ == "__main__":
    main()
