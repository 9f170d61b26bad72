"""The attack port, certificate-aware comparison and its audit."""

from lip_plugin.evaluate.attack import AttackResult as AttackResult
from lip_plugin.evaluate.attack import EmpiricalAttack as EmpiricalAttack
from lip_plugin.evaluate.attacks import get_attack as get_attack
from lip_plugin.evaluate.compare import compare as compare
from lip_plugin.evaluate.compare import compare_certified as compare_certified
from lip_plugin.evaluate.evaluation import evaluate_images as evaluate_images
from lip_plugin.evaluate.evaluation import evaluate_part as evaluate_part
from lip_plugin.evaluate.lipschitz_audit import LipschitzAudit as LipschitzAudit
from lip_plugin.evaluate.lipschitz_audit import audit_lipschitz as audit_lipschitz
from lip_plugin.evaluate.request import Request as Request
from lip_plugin.evaluate.results import AuditResult as AuditResult
from lip_plugin.evaluate.results import DatasetSummary as DatasetSummary
from lip_plugin.evaluate.results import EpsResult as EpsResult
from lip_plugin.evaluate.results import ModelSummary as ModelSummary
from lip_plugin.evaluate.results import Report as Report
from lip_plugin.evaluate.results import StageRecord as StageRecord
from lip_plugin.evaluate.tightness import Tightness as Tightness
from lip_plugin.evaluate.tightness import gradient_over_pair_bound as gradient_over_pair_bound
