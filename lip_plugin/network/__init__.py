"""The plain network: operators, composition, storage, and the ways in."""

from lip_plugin.network import torch_modules as _torch_modules  # noqa: F401  # pyright: ignore[reportUnusedImport]  registers converters
from lip_plugin.network.classifier import CertifiedClassifier as CertifiedClassifier
from lip_plugin.network.classifier import require_unaltered as require_unaltered
from lip_plugin.network.conversion import convert as convert
from lip_plugin.network.conversion import converts as converts
from lip_plugin.network.conversion import wrap as wrap
from lip_plugin.network.float64 import float64_function as float64_function
from lip_plugin.network.float64 import float64_logits as float64_logits
from lip_plugin.network.float64 import float64_program as float64_program
from lip_plugin.network.integrity import refuse_altered as refuse_altered
from lip_plugin.network.operators import Activation as Activation
from lip_plugin.network.operators import AvgPool as AvgPool
from lip_plugin.network.operators import ChannelShuffle as ChannelShuffle
from lip_plugin.network.operators import Conv as Conv
from lip_plugin.network.operators import Dense as Dense
from lip_plugin.network.operators import Flatten as Flatten
from lip_plugin.network.operators import Head as Head
from lip_plugin.network.operators import L2Pool as L2Pool
from lip_plugin.network.operators import LinearOperator as LinearOperator
from lip_plugin.network.operators import MaxPool as MaxPool
from lip_plugin.network.operators import MinMax as MinMax
from lip_plugin.network.operators import Offset as Offset
from lip_plugin.network.operators import Operator as Operator
from lip_plugin.network.operators import PixelShuffle as PixelShuffle
from lip_plugin.network.operators import PixelUnshuffle as PixelUnshuffle
from lip_plugin.network.operators import PlainLayer as PlainLayer
from lip_plugin.network.operators import Rounding as Rounding
from lip_plugin.network.operators import RoundingAt as RoundingAt
from lip_plugin.network.operators import RoundingTerm as RoundingTerm
from lip_plugin.network.operators import Scale as Scale
from lip_plugin.network.operators import Window as Window
from lip_plugin.network.operators import Windows as Windows
from lip_plugin.network.operators import minmax as minmax
from lip_plugin.network.plain import tensor_flaw as tensor_flaw
from lip_plugin.network.surroundings import foreign_surroundings as foreign_surroundings
from lip_plugin.network.surroundings import inexact_float32 as inexact_float32
