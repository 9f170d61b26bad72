"""Orthogonal matrices in training: such that stay on the group as they step, and parametrisations that lead onto it."""

from lip_plugin.models.layers.orthogonal.group import orthogonal_group as orthogonal_group
from lip_plugin.models.layers.orthogonal.initialisation import haar as haar
from lip_plugin.models.layers.orthogonal.manifold import ManifoldAdam as ManifoldAdam
from lip_plugin.models.layers.orthogonal.manifold import fast_exp as fast_exp
from lip_plugin.models.layers.orthogonal.parametrisations import PARAMETRISATIONS as PARAMETRISATIONS
from lip_plugin.models.layers.orthogonal.parametrisations import MatrixName as MatrixName
from lip_plugin.models.layers.orthogonal.parametrisations import orthonormal as orthonormal
from lip_plugin.models.layers.orthogonal.polar import orthogonal_mean as orthogonal_mean
from lip_plugin.models.layers.orthogonal.polar import polar as polar
