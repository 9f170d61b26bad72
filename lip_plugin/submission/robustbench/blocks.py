"""A network in plain torch as blocks: a layer with weights and what follows it, equal ones together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lip_plugin.network import CertifiedClassifier, PlainLayer


@dataclass(frozen=True)
class Block:
    """``repeats`` equal runs of ``layers``. Only the first layer has tensors, and it may have none either.

    ``attribute`` is the name under which the first layer's module, list of modules or buffer is kept.
    """

    layers: tuple[PlainLayer, ...]
    repeats: int = 1
    attribute: str = ""

    @property
    def first(self) -> PlainLayer:
        return self.layers[0]

    def prefixes(self) -> list[str]:
        """Where the state dict keeps the tensors of each repetition; empty without tensors."""
        if not self.first.declared:
            return []
        return [self.attribute] if self.repeats == 1 else [f"{self.attribute}.{index}" for index in range(self.repeats)]


def network_blocks(model: CertifiedClassifier) -> tuple[Block, ...]:
    """The whole network, its head included. Raises UnsupportedLayerError for an operator without a plain form."""
    layers = [layer.plain_layer(shape) for layer, shape in zip(model.layers, model.layer_input_shapes, strict=True)]
    return _named(_repeated([Block(tuple(group)) for group in _groups(layers)]))


def state_names(model: CertifiedClassifier) -> list[tuple[str, ...]]:
    """For every operator in order: the name in the state dict of each of its `tensors`, in their order."""
    kept = iter([(prefix, block.first) for block in network_blocks(model) for prefix in block.prefixes()])
    names: list[tuple[str, ...]] = []
    for layer in model.layers:
        fields = tuple(layer.tensors())
        if fields:
            prefix, plain = next(kept)
            fields = (prefix,) if plain.is_buffer else tuple(f"{prefix}.{name}" for name in plain.states or fields)
        names.append(fields)
    return names


def _groups(layers: Sequence[PlainLayer]) -> Iterator[list[PlainLayer]]:
    group: list[PlainLayer] = []
    for layer in layers:
        if layer.declared and group:
            yield group
            group = []
        group.append(layer)
    yield group


def _repeated(blocks: Sequence[Block]) -> list[Block]:
    """Equal neighbours as one block with a list of modules."""
    merged: list[Block] = []
    for block in blocks:
        equal = bool(merged) and merged[-1].layers == block.layers and not block.first.is_buffer
        if equal and block.first.declared:
            merged[-1] = Block(block.layers, merged[-1].repeats + 1)
        else:
            merged.append(block)
    return merged


def _named(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Names by kind, numbered where a kind occurs more than once."""
    stems = [_stem(block) for block in blocks]
    total, seen = Counter(stems), Counter[str]()
    named: list[Block] = []
    for block, stem in zip(blocks, stems, strict=True):
        seen[stem] += 1
        number = str(seen[stem]) if total[stem] > 1 else ""
        named.append(Block(block.layers, block.repeats, f"{stem}{number}" if stem else ""))
    return tuple(named)


def _stem(block: Block) -> str:
    """``conv``, or ``convs`` for a list of them."""
    return block.first.name if block.repeats == 1 else f"{block.first.name}s"
