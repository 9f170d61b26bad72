"""How much certificate-aware evaluation saves: image-forwards and seconds against the full protocol, in one run.

usage: python benchmarks/certificate_aware.py [--n 32] [--eps 0.25] [--attack autoattack]
"""

from __future__ import annotations

import argparse

import lip_plugin as lp
from lip_plugin.data import load_shipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--eps", default="0.25")
    parser.add_argument("--attack", default="autoattack")
    options = parser.parse_args()
    model = lp.load_model("LipPlugin2026_LiResNet_Demo")
    x, y = load_shipped("fashion_mnist").first(options.n).tensors(model.dtype)
    reports = [
        lp.compare(model, x, y, eps=options.eps, attacks=(options.attack,), audit=0, skip_certified=skip)
        for skip in (True, False)
    ]
    for name, report in zip(("certificate-aware", "full protocol"), reports, strict=True):
        cost = report.cost
        print(f"{name:18} {cost.attack_forwards:12,} image-forwards {cost.attack_seconds:9.1f} s")
    aware, full = (report.cost for report in reports)
    print(
        f"saved: {full.attack_forwards / max(1, aware.attack_forwards):.1f}x image-forwards, "
        f"{full.attack_seconds / aware.attack_seconds:.1f}x seconds; {len(reports[1].differences)} points differ"
    )


if __name__ == "__main__":
    main()
