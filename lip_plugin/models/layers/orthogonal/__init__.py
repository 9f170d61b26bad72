"""Matrices that stay orthogonal while they are trained: where they start, how they step, and how they are averaged."""

from lip_plugin.models.layers.orthogonal.group import orthogonal_group as orthogonal_group
from lip_plugin.models.layers.orthogonal.initialisation import haar as haar
from lip_plugin.models.layers.orthogonal.manifold import ManifoldAdam as ManifoldAdam
from lip_plugin.models.layers.orthogonal.manifold import fast_exp as fast_exp
from lip_plugin.models.layers.orthogonal.polar import orthogonal_mean as orthogonal_mean
from lip_plugin.models.layers.orthogonal.polar import polar as polar
