"""Trainable architectures."""

from lip_plugin.models.architecture import ArchitectureConfig as ArchitectureConfig
from lip_plugin.models.architecture import Citation as Citation
from lip_plugin.models.base import CertifiableModel as CertifiableModel
from lip_plugin.models.base import EstimatedMap as EstimatedMap
from lip_plugin.models.base import freeze as freeze
from lip_plugin.models.base import maps_along as maps_along
from lip_plugin.models.bronet import BRONet as BRONet
from lip_plugin.models.groups import ParameterGroup as ParameterGroup
from lip_plugin.models.groups import StepSettings as StepSettings
from lip_plugin.models.layers.head import LinearHead as LinearHead
from lip_plugin.models.layers.head import NormalizedHead as NormalizedHead
from lip_plugin.models.lipnext import LipNeXt as LipNeXt
from lip_plugin.models.liresnet import LiResNet as LiResNet
from lip_plugin.models.liresnet_pp import LiResNetPP as LiResNetPP
