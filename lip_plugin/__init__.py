"""Provably robust image classifiers: load by name, certify an L2 radius per image, attack beside the proof.

Public names are loaded on first use (PEP 562), so that listing models does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lip_plugin.version import __version__ as __version__

if TYPE_CHECKING:
    from lip_plugin import losses as losses
    from lip_plugin.certificates import Certificate as Certificate
    from lip_plugin.certificates import LipschitzBound as LipschitzBound
    from lip_plugin.certificates import Prediction as Prediction
    from lip_plugin.certificates import bounds_of as bounds_of
    from lip_plugin.certificates import certify as certify
    from lip_plugin.certificates import lipschitz_upper_bound as lipschitz_upper_bound
    from lip_plugin.certificates import pair_lipschitz_upper_bound as pair_lipschitz_upper_bound
    from lip_plugin.certificates import predict as predict
    from lip_plugin.certificates import verified_robust_accuracy as verified_robust_accuracy
    from lip_plugin.errors import CheckpointError as CheckpointError
    from lip_plugin.errors import ChecksumError as ChecksumError
    from lip_plugin.errors import ConfigError as ConfigError
    from lip_plugin.errors import DataError as DataError
    from lip_plugin.errors import LipPluginError as LipPluginError
    from lip_plugin.errors import MissingDependencyError as MissingDependencyError
    from lip_plugin.errors import RefusedError as RefusedError
    from lip_plugin.errors import SoundnessError as SoundnessError
    from lip_plugin.errors import UnknownModelError as UnknownModelError
    from lip_plugin.errors import UnsupportedLayerError as UnsupportedLayerError
    from lip_plugin.evaluate import AttackResult as AttackResult
    from lip_plugin.evaluate import EmpiricalAttack as EmpiricalAttack
    from lip_plugin.evaluate import LipschitzAudit as LipschitzAudit
    from lip_plugin.evaluate import Report as Report
    from lip_plugin.evaluate import audit_lipschitz as audit_lipschitz
    from lip_plugin.evaluate import compare as compare
    from lip_plugin.evaluate import get_attack as get_attack
    from lip_plugin.models import freeze as freeze
    from lip_plugin.network import CertifiedClassifier as CertifiedClassifier
    from lip_plugin.published import from_published as from_published
    from lip_plugin.train.own_networks import EstimateState as EstimateState
    from lip_plugin.train.own_networks import pair_lipschitz_estimate as pair_lipschitz_estimate
    from lip_plugin.types import ABSTAIN as ABSTAIN
    from lip_plugin.wrapping import wrap as wrap
    from lip_plugin.zoo import ModelCard as ModelCard
    from lip_plugin.zoo import Provenance as Provenance
    from lip_plugin.zoo import list_models as list_models
    from lip_plugin.zoo import load_model as load_model
    from lip_plugin.zoo import model_card as model_card
    from lip_plugin.zoo import register_model as register_model
    from lip_plugin.zoo import register_with_robustbench as register_with_robustbench

_HOME = {
    "certificates": (
        "Certificate",
        "LipschitzBound",
        "Prediction",
        "bounds_of",
        "certify",
        "lipschitz_upper_bound",
        "pair_lipschitz_upper_bound",
        "predict",
        "verified_robust_accuracy",
    ),
    "errors": (
        "CheckpointError",
        "ChecksumError",
        "ConfigError",
        "DataError",
        "LipPluginError",
        "MissingDependencyError",
        "RefusedError",
        "SoundnessError",
        "UnknownModelError",
        "UnsupportedLayerError",
    ),
    "evaluate": (
        "AttackResult",
        "EmpiricalAttack",
        "LipschitzAudit",
        "Report",
        "audit_lipschitz",
        "compare",
        "get_attack",
    ),
    "models": ("freeze",),
    "network": ("CertifiedClassifier",),
    "published": ("from_published",),
    "train.own_networks": ("EstimateState", "pair_lipschitz_estimate"),
    "types": ("ABSTAIN",),
    "wrapping": ("wrap",),
    "zoo": (
        "ModelCard",
        "Provenance",
        "list_models",
        "load_model",
        "model_card",
        "register_model",
        "register_with_robustbench",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", "losses", *_MODULE_OF]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("lip_plugin.losses")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'lip_plugin' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"lip_plugin.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # resolved once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
