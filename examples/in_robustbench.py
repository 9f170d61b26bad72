"""Load a certified model through RobustBench, run RobustBench's own benchmark, and put the proof beside it.

usage: python examples/in_robustbench.py    RobustBench keeps CIFAR-10 in ./data and fetches it where it is missing
"""

import lip_plugin as lp

lp.register_with_robustbench()  # before anything is imported from robustbench

from robustbench.data import load_cifar10  # noqa: E402
from robustbench.eval import benchmark  # noqa: E402  # pyright: ignore  # torchattacks ships a copy without it
from robustbench.utils import load_model  # noqa: E402

NAME, EPS, N = "LipPlugin2026_LiResNet_S", 108 / 255, 6
model = load_model(NAME, dataset="cifar10", threat_model="L2")
clean, robust = benchmark(model, n_examples=N, dataset="cifar10", threat_model="L2", eps=EPS)

x, y = load_cifar10(n_examples=N)
certificate = lp.certify(lp.load_model(NAME), x)
proved = lp.verified_robust_accuracy(certificate, y, EPS)
print("same predictions as lp.load_model:", model(x).argmax(dim=1).equal(certificate.prediction))
print(f"clean {clean:.1%}, survives AutoAttack {robust:.1%}, proved {proved:.1%}")
