"""A package `robustbench` with the imports, dictionaries and calls of the real one, and no models of its own.

Written from what version 1.1.1 and its repository do when they are run. Three situations:

- ``published``: the package index today. `pkg_resources` and `autoattack` are imported and nobody provides them.
- ``complete``: the same package beside an old setuptools and the `autoattack` of its repository.
- ``fixed``: a release that needs neither.
"""

from __future__ import annotations

from pathlib import Path

SITUATIONS = ("published", "complete", "fixed")

_PUBLISHED = {
    "robustbench/__init__.py": """
from .data import load_cifar10
from .utils import load_model
from .eval import benchmark
""",
    "robustbench/loaders.py": """
import pkg_resources

def first_id():
    with open(pkg_resources.resource_filename(__name__, "helper_files/ids.txt")) as file:
        return file.readline().strip()
""",
    "robustbench/helper_files/ids.txt": "n01440764/ILSVRC2012_val_00000293.JPEG\n",
    "robustbench/data.py": """
from robustbench.model_zoo import model_dicts as all_models
from robustbench.model_zoo.enums import BenchmarkDataset
from robustbench.loaders import first_id

PREPROCESSINGS = {None: "to tensor", "Res256Crop224": "to 256, middle 224, to tensor"}

def get_preprocessing(dataset, threat_model, model_name, preprocessing):
    if preprocessing is None and dataset == BenchmarkDataset.imagenet:
        preprocessing = all_models[dataset][threat_model][model_name]["preprocessing"]
    return PREPROCESSINGS[preprocessing]

def load_cifar10(n_examples=None, data_dir="./data", transforms_test=None):
    return _clean_dataset_loaders[BenchmarkDataset.cifar_10](n_examples, data_dir, transforms_test)

_clean_dataset_loaders = {}
""",
    "robustbench/model_zoo/__init__.py": "from .models import model_dicts\n",
    "robustbench/model_zoo/enums.py": """
from enum import Enum

class BenchmarkDataset(Enum):
    cifar_10 = "cifar10"
    cifar_100 = "cifar100"
    imagenet = "imagenet"

class ThreatModel(Enum):
    Linf = "Linf"
    L2 = "L2"
""",
    "robustbench/model_zoo/models.py": """
from collections import OrderedDict
from robustbench.model_zoo.enums import BenchmarkDataset as B, ThreatModel as T

theirs = {"model": lambda: None, "gdrive_id": "an id"}
model_dicts = OrderedDict([
    (B.cifar_10, OrderedDict([(T.Linf, OrderedDict()), (T.L2, OrderedDict(Theirs=theirs))])),
    (B.cifar_100, OrderedDict([(T.Linf, OrderedDict())])),
    (B.imagenet, OrderedDict([(T.Linf, OrderedDict())])),
])
""",
    "robustbench/utils.py": """
import os
from pathlib import Path
import torch
from robustbench.model_zoo import model_dicts as all_models
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel

def load_model(model_name, model_dir="./models", dataset=BenchmarkDataset.cifar_10, threat_model=ThreatModel.Linf):
    dataset, threat_model = BenchmarkDataset(dataset), ThreatModel(threat_model)
    entry = all_models[dataset][threat_model][model_name]
    if not isinstance(entry["gdrive_id"], list):
        raise ConnectionError("would download " + str(entry["gdrive_id"]))
    model = entry["model"]()
    os.makedirs(Path(model_dir) / dataset.value / threat_model.value, exist_ok=True)
    for index, _ in enumerate(entry["gdrive_id"]):
        raise ConnectionError("would download part " + str(index))
    return model.eval()

def clean_accuracy(model, x, y, batch_size=100, device=None):
    with torch.no_grad():
        right = sum((model(a).max(1)[1] == b).float().sum() for a, b in zip(x.split(batch_size), y.split(batch_size)))
    return right.item() / x.shape[0]
""",
    "robustbench/eval.py": """
import torch
from autoattack import AutoAttack
from autoattack.state import EvaluationState
from robustbench.data import _clean_dataset_loaders, get_preprocessing
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
from robustbench.utils import clean_accuracy

def benchmark(model, n_examples=10000, dataset="cifar10", threat_model="Linf", model_name=None, data_dir="./data",
              batch_size=32, eps=None, log_path=None, preprocessing=None, aa_state_path=None):
    dataset, threat_model, device = BenchmarkDataset(dataset), ThreatModel(threat_model), torch.device("cpu")
    prepared = get_preprocessing(dataset, threat_model, model_name, preprocessing)
    x, y = _clean_dataset_loaders[dataset](n_examples, data_dir, prepared)
    model = model.to(device)
    clean = clean_accuracy(model, x, y, batch_size=batch_size, device=device)
    adversary = AutoAttack(model, norm=threat_model.value, eps=eps, version="standard", device=device,
                           log_path=log_path)
    x_adv = adversary.run_standard_evaluation(x, y, bs=batch_size, state_path=aa_state_path)
    return clean, clean_accuracy(model, x_adv, y, batch_size=batch_size, device=device)
""",
}

_IDLE_ATTACK = """
class AutoAttack:
    def __init__(self, model, norm="Linf", eps=.3, seed=None, verbose=True, attacks_to_run=[], version="standard",
                 is_tf_model=False, device="cuda", log_path=None):
        pass

    def run_standard_evaluation(self, x_orig, y_orig, bs=250, return_labels=False, state_path=None):
        return x_orig.clone()
"""

_PROVIDED = {
    "pkg_resources.py": """
import os, sys

def resource_filename(module, path):
    return os.path.join(os.path.dirname(sys.modules[module].__file__), path)
""",
    "autoattack/__init__.py": _IDLE_ATTACK,
    "autoattack/state.py": "class EvaluationState: pass\n",
}

_FIXED = {
    "robustbench/loaders.py": """
import importlib.resources

def first_id():
    return (importlib.resources.files("robustbench") / "helper_files/ids.txt").read_text().strip()
""",
    "robustbench/attack.py": _IDLE_ATTACK,
    "robustbench/eval.py": _PUBLISHED["robustbench/eval.py"]
    .replace("from autoattack import", "from robustbench.attack import")
    .replace("from autoattack.state import EvaluationState\n", ""),
}

_ADDED = {"published": {}, "complete": _PROVIDED, "fixed": _FIXED}


def write_robustbench(folder: Path, situation: str) -> Path:
    """Write the package, and what surrounds it, into a folder for `sys.path`."""
    for name, content in (_PUBLISHED | _ADDED[situation]).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.removeprefix("\n"), encoding="utf-8")
    return folder
