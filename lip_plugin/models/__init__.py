"""Trainable architectures."""

from lip_plugin.models.base import CertifiableModel as CertifiableModel
from lip_plugin.models.base import ParameterGroup as ParameterGroup
from lip_plugin.models.base import freeze as freeze
from lip_plugin.models.liresnet import LiResNet as LiResNet
from lip_plugin.models.liresnet_pp import LiResNetPP as LiResNetPP
