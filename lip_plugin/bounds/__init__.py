"""Proved upper bounds of operator norms, as pure functions of tensors.

Everything named ``*_upper_bound`` is outward-rounded in float64 on the CPU, recomputed from the weights, and refuses
what it cannot prove. Everything named ``*_estimate`` converges from below and proves nothing.
"""

from __future__ import annotations

from lip_plugin.bounds.bound import NormBound as NormBound
from lip_plugin.bounds.conv import conv_norm_upper_bound as conv_norm_upper_bound
from lip_plugin.bounds.conv import general_conv_norm_upper_bound as general_conv_norm_upper_bound
from lip_plugin.bounds.dense import dense_norm_upper_bound as dense_norm_upper_bound
from lip_plugin.bounds.dense import row_distance_upper_bound as row_distance_upper_bound
from lip_plugin.bounds.effort import bounds_of as bounds_of
from lip_plugin.bounds.effort import effort as effort
from lip_plugin.bounds.estimates import conv_norm_estimate as conv_norm_estimate
from lip_plugin.bounds.estimates import dense_norm_estimate as dense_norm_estimate
from lip_plugin.bounds.pooling import average_pool_norm_upper_bound as average_pool_norm_upper_bound
from lip_plugin.bounds.pooling import l2_pool_norm_upper_bound as l2_pool_norm_upper_bound
from lip_plugin.bounds.pooling import max_pool_norm_upper_bound as max_pool_norm_upper_bound
from lip_plugin.bounds.potential import potential_step_upper_bound as potential_step_upper_bound
from lip_plugin.bounds.rounding import abs_norm_upper_bound as abs_norm_upper_bound
from lip_plugin.bounds.rounding import frobenius_upper_bound as frobenius_upper_bound
from lip_plugin.bounds.rounding import row_norms_upper_bound as row_norms_upper_bound
from lip_plugin.bounds.verified import spectral_norm_upper_bound as spectral_norm_upper_bound

__all__ = [
    "NormBound",
    "abs_norm_upper_bound",
    "average_pool_norm_upper_bound",
    "bounds_of",
    "conv_norm_estimate",
    "conv_norm_upper_bound",
    "dense_norm_estimate",
    "dense_norm_upper_bound",
    "effort",
    "frobenius_upper_bound",
    "general_conv_norm_upper_bound",
    "l2_pool_norm_upper_bound",
    "max_pool_norm_upper_bound",
    "potential_step_upper_bound",
    "row_distance_upper_bound",
    "row_norms_upper_bound",
    "spectral_norm_upper_bound",
]
