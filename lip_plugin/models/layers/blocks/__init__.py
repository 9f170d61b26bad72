"""The blocks of the comparison architecture by name: what a recipe's ``block`` may be."""

from lip_plugin.models.layers.blocks.aoc import AocBlock
from lip_plugin.models.layers.blocks.aol import AolBlock
from lip_plugin.models.layers.blocks.base import Block as Block
from lip_plugin.models.layers.blocks.cayley import CayleyBlock
from lip_plugin.models.layers.blocks.gloro import GloroBlock
from lip_plugin.models.layers.blocks.lot import LotBlock
from lip_plugin.models.layers.blocks.potential import CplBlock, SllBlock
from lip_plugin.models.layers.blocks.soc import SocBlock

BLOCKS: dict[str, type[Block]] = {
    "aoc": AocBlock,
    "aol": AolBlock,
    "cayley": CayleyBlock,
    "soc": SocBlock,
    "lot": LotBlock,
    "sll": SllBlock,
    "cpl": CplBlock,
    "gloro": GloroBlock,
}
