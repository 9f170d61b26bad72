"""From people's own torch modules to plain networks: reading, rules, folding, heads."""

from lip_plugin.wrapping.registry import rule as rule
from lip_plugin.wrapping.traced import Traced as Traced
from lip_plugin.wrapping.wrap import OwnNetwork as OwnNetwork
from lip_plugin.wrapping.wrap import operators_of as operators_of
from lip_plugin.wrapping.wrap import wrap as wrap
