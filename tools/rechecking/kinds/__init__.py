"""The kinds of operators that the checker proves: a class each, in a file for each family that is imported here."""

from . import activations as activations
from . import convolving as convolving
from . import dense as dense
from . import entrywise as entrywise
from . import frequencies as frequencies
from . import moves as moves
from . import paths as paths
from . import pools as pools
from . import potential as potential
