"""``architecture.py``: a network as a file of its own that needs nothing but torch."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Sequence

from lip_plugin.network import CertifiedClassifier, PlainLayer
from lip_plugin.network.operators.plain_layer import as_operand
from lip_plugin.submission.robustbench.blocks import Block, network_blocks


def architecture_source(model: CertifiedClassifier, name: str) -> str:
    """Python source of one class, `class_name(name)`, that takes no arguments.

    Its forward makes the calls of ``model.forward`` in the same order: equal logits, bit for bit, once the state dict
    of `state_dict_bytes` is loaded. Raises UnsupportedLayerError for an operator without a plain form.
    """
    blocks = network_blocks(model)
    helpers = sorted({helper for block in blocks for layer in block.layers for helper in layer.helpers})
    parts = [
        _docstring(model, name),
        "\n".join(_imports(blocks, helpers)),
        *("\n" + helper.rstrip("\n") for helper in helpers),
        "\n" + "\n".join(_class(blocks, class_name(name))),
    ]
    return "\n\n".join(parts) + "\n"


def class_name(name: str) -> str:
    """A Python name made of a model's name, in RobustBench's manner: ``Rice2020OverfittingNet``."""
    identifier = re.sub(r"[^A-Za-z0-9_]", "_", name) + "Net"
    return identifier if identifier.isidentifier() and not keyword.iskeyword(identifier) else f"Model{identifier}"


def module_name(name: str) -> str:
    """Of the file in RobustBench's ``architectures`` folder."""
    return re.sub(r"[^a-z0-9_]", "_", class_name(name).removesuffix("Net").lower())


def shown_name(name: str) -> str:
    """A model's name for a Python comment or docstring: it can end neither."""
    return re.sub(r"[^\w .,+-]", "_", name)


def _docstring(model: CertifiedClassifier, name: str) -> str:
    shown, shape = shown_name(name), ", ".join(map(str, model.input_shape))
    return (
        f'"""{shown}: a network with a proved Lipschitz constant, in plain PyTorch.\n\n'
        f"Input (B, {shape}) {str(model.dtype)[6:]}, pixels in [0,1]: normalisation is part of the network. "
        f"Logits (B, {model.num_classes}).\n"
        f"Weights: {shown}.pt, to be loaded with strict=True. Written by lip-plugin, network digest\n"
        f'{model.digest}.\n"""'
    )


def _imports(blocks: Sequence[Block], helpers: Sequence[str]) -> Iterator[str]:
    code = [text for block in blocks for layer in block.layers for text in (layer.code, layer.declared, layer.before)]
    yield "import torch"
    if any("F." in text for text in [*code, *helpers]):
        yield "import torch.nn.functional as F"
    yield "from torch import nn"


def _class(blocks: Sequence[Block], name: str) -> Iterator[str]:
    yield f"class {name}(nn.Module):"
    yield "    def __init__(self):"
    yield "        super().__init__()"
    yield from (f"        {line}" for block in blocks for line in _declaration(block))
    yield ""
    yield "    def forward(self, x):"
    *statements, head = (line for block in blocks for line in _statements(block))
    yield from (f"        {line}" for line in statements)
    yield f"        return {head.removeprefix('x = ')}"


def _declaration(block: Block) -> Iterator[str]:
    declared = block.first.declared
    if block.first.is_buffer:
        yield f'self.register_buffer("{block.attribute}", {declared})'
    elif declared and block.repeats > 1:
        yield f"self.{block.attribute} = nn.ModuleList({declared} for _ in range({block.repeats}))"
    elif declared:
        yield f"self.{block.attribute} = {declared}"


def _statements(block: Block) -> Iterator[str]:
    if block.repeats == 1:
        yield from _run(block.layers, f"self.{block.attribute}")
    else:
        yield f"for {block.first.name} in self.{block.attribute}:"
        yield from (f"    {line}" for line in _run(block.layers, block.first.name))


def _run(layers: Sequence[PlainLayer], own: str) -> Iterator[str]:
    """One statement per layer; an activation goes around the layer before it."""
    expressions: list[str] = []
    alone = False
    for layer in layers:
        if layer.before:
            expressions.append(layer.before.format(x="x"))
        if layer.wraps and alone:
            expressions[-1] = layer.code.format(x=as_operand(layer, expressions[-1]), self=own)
            alone = False
        else:
            expressions.append(layer.code.format(x="x", self=own))
            alone = True
    yield from (f"x = {expression}" for expression in expressions)
