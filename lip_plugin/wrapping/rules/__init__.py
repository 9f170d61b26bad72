"""The rules for torch's own functions, by theme; importing this package registers them."""

from lip_plugin.wrapping.rules import activations as activations
from lip_plugin.wrapping.rules import affine as affine
from lip_plugin.wrapping.rules import fixed as fixed
from lip_plugin.wrapping.rules import linear as linear
from lip_plugin.wrapping.rules import moves as moves
from lip_plugin.wrapping.rules import normalisation as normalisation
from lip_plugin.wrapping.rules import one_axis as one_axis
from lip_plugin.wrapping.rules import padding as padding
from lip_plugin.wrapping.rules import pools as pools
from lip_plugin.wrapping.rules import probabilities as probabilities
from lip_plugin.wrapping.rules import sorting as sorting
from lip_plugin.wrapping.rules import unchanged as unchanged
