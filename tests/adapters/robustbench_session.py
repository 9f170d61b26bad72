"""What a user of RobustBench does, as a program of its own: python robustbench_session.py FOLDER [in-vain]

FOLDER holds model directories in ``models`` and, per data set, ``DATASET.npz`` with x, y, eps. Prints one JSON
object of what was seen; everything that RobustBench prints goes to stderr. With ``in-vain`` RobustBench is imported
before the plugin has made that possible, as in a notebook.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch


def missing_module() -> str | None:
    """The module for want of which RobustBench does not import by itself."""
    try:
        importlib.import_module("robustbench")
    except ImportError as error:
        return error.name
    return None


def register(folder: Path, *, in_vain: bool) -> dict[str, Any]:
    missing, finders = missing_module() if in_vain else None, list(sys.meta_path)
    import lip_plugin as lp

    for directory in sorted((folder / "models").iterdir()):
        lp.register_model(directory)
    names = [lp.register_with_robustbench(), lp.register_with_robustbench()]
    package = importlib.import_module("robustbench")
    return {
        "missing": missing,
        "names": names,
        "finders_changed": sys.meta_path != finders,
        "provided_by": {
            name: str(getattr(sys.modules[name], "__file__", None))
            for name in ("pkg_resources", "autoattack", "autoattack.state")
            if name in sys.modules
        },
        "attack": importlib.import_module("robustbench.eval").AutoAttack.__module__,
        "is_whole": package.model_zoo.model_dicts is package.utils.all_models,
    }


def use(folder: Path, name: str, dataset: str) -> dict[str, Any]:
    """The model by RobustBench's own calls, against `lp.load_model`."""
    import lip_plugin as lp

    package = importlib.import_module("robustbench")
    with np.load(folder / f"{dataset}.npz") as archive:
        x, y, eps = torch.from_numpy(archive["x"]), torch.from_numpy(archive["y"]), float(archive["eps"])
    package.data._clean_dataset_loaders[package.model_zoo.enums.BenchmarkDataset(dataset)] = lambda n, *_: (
        x[:n],
        y[:n],
    )
    model = package.utils.load_model(name, model_dir=folder / "rb_models", dataset=dataset, threat_model="L2")
    own = lp.load_model(name, dataset=dataset)
    clean, robust = package.eval.benchmark(
        model, n_examples=len(x), dataset=dataset, threat_model="L2", eps=eps, model_name=name
    )
    # The bound of a convolution over 224x224 pixels takes 15 seconds.
    proved = 0.0 if dataset == "imagenet" else lp.verified_robust_accuracy(lp.certify(model, x), y, eps)
    return {
        "same_network": model.digest == own.digest,
        "predictions": model(x).argmax(dim=1).tolist(),
        "own_predictions": own(x).argmax(dim=1).tolist(),
        "clean_accuracy": package.utils.clean_accuracy(model, x, y),
        "benchmark": [clean, robust],
        "proved": proved,
    }


def main(folder: Path, *, in_vain: bool) -> None:
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(sys.stderr):
        record = register(folder, in_vain=in_vain)
        record["first_id"] = getattr(importlib.import_module("robustbench.loaders"), "first_id", lambda: None)()
        record["models"] = {
            dataset: use(folder, f"Toy_{dataset}", dataset) for dataset in ("cifar10", "cifar100", "imagenet")
        }
    print(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]), in_vain="in-vain" in sys.argv)
