"""The operators that a plain network may consist of."""

from lip_plugin.network.operators.activations import ACTIVATIONS as ACTIVATIONS
from lip_plugin.network.operators.base import OPERATOR_KINDS as OPERATOR_KINDS
from lip_plugin.network.operators.base import NormEstimates as NormEstimates
from lip_plugin.network.operators.base import Operator as Operator
from lip_plugin.network.operators.base import Rounding as Rounding
from lip_plugin.network.operators.base import RoundingAt as RoundingAt
from lip_plugin.network.operators.base import RoundingTerm as RoundingTerm
from lip_plugin.network.operators.base import Window as Window
from lip_plugin.network.operators.base import Windows as Windows
from lip_plugin.network.operators.base import map_windows as map_windows
from lip_plugin.network.operators.concat import Concat as Concat
from lip_plugin.network.operators.conv import Conv as Conv
from lip_plugin.network.operators.conv_transpose import ConvTranspose as ConvTranspose
from lip_plugin.network.operators.convex_potential import ConvexPotential as ConvexPotential
from lip_plugin.network.operators.dense import Dense as Dense
from lip_plugin.network.operators.dense import Head as Head
from lip_plugin.network.operators.entrywise import Entrywise as Entrywise
from lip_plugin.network.operators.entrywise import Selecting as Selecting
from lip_plugin.network.operators.frequency_conv import FrequencyConv as FrequencyConv
from lip_plugin.network.operators.frequency_matrix import FrequencyMatrix as FrequencyMatrix
from lip_plugin.network.operators.gather import Gather as Gather
from lip_plugin.network.operators.gather import GroupSort as GroupSort
from lip_plugin.network.operators.linear import LinearOperator as LinearOperator
from lip_plugin.network.operators.minmax import MinMax as MinMax
from lip_plugin.network.operators.minmax import minmax as minmax
from lip_plugin.network.operators.padding import Pad as Pad
from lip_plugin.network.operators.padding import Repeat as Repeat
from lip_plugin.network.operators.partial_abs import PartialAbs as PartialAbs
from lip_plugin.network.operators.partial_abs import partial_abs as partial_abs
from lip_plugin.network.operators.plain_layer import PlainLayer as PlainLayer
from lip_plugin.network.operators.pointwise import Activation as Activation
from lip_plugin.network.operators.pointwise import Offset as Offset
from lip_plugin.network.operators.pointwise import PReLU as PReLU
from lip_plugin.network.operators.pointwise import Scale as Scale
from lip_plugin.network.operators.pooling import AvgPool as AvgPool
from lip_plugin.network.operators.pooling import L2Pool as L2Pool
from lip_plugin.network.operators.pooling import MaxPool as MaxPool
from lip_plugin.network.operators.rearrange import ChannelShuffle as ChannelShuffle
from lip_plugin.network.operators.rearrange import Flatten as Flatten
from lip_plugin.network.operators.rearrange import PixelShuffle as PixelShuffle
from lip_plugin.network.operators.rearrange import PixelUnshuffle as PixelUnshuffle
from lip_plugin.network.operators.rearrange import Reshape as Reshape
from lip_plugin.network.operators.residual import Residual as Residual
from lip_plugin.network.operators.shift import SpatialShift as SpatialShift
from lip_plugin.network.operators.shift import spatial_shift as spatial_shift

BUILT_IN = frozenset(OPERATOR_KINDS)
"""The kinds of this package: whose bounds are proved here, and that a verifier accepts."""
