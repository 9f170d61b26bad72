"""CIFAR-100 (Krizhevsky, 2009), from its official binary files or python batches: its 100 fine classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lip_plugin.data.catalogue import DataSet, RobustBench, TestSplit
from lip_plugin.data.digests import shipped_digests
from lip_plugin.data.download import by_torchvision
from lip_plugin.data.readers import Arrays

if TYPE_CHECKING:
    from lip_plugin.data.readers import ArrayPair


# Of the file fine_label_names.txt, in its order.
_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


def _read(directory: Path, split: str) -> ArrayPair:
    from lip_plugin.data.cifar import BatchFiles, read_batches

    layout = BatchFiles(
        title="CIFAR-100",
        folders=("cifar-100-binary", "cifar-100-python"),
        batches={"train": ("train",), "test": ("test",)},
        label_bytes=2,  # the coarse label, then the fine one
        label_key=b"fine_labels",
    )
    return read_batches(layout, directory, split)


DATASET = DataSet(
    "cifar100",
    "CIFAR-100",
    Arrays(_read),
    image_shape=(3, 32, 32),
    num_classes=100,
    class_names=tuple(_CLASSES.split()),
    standard_eps=36 / 255,
    test=TestSplit(10_000, digests=shipped_digests("cifar100")),
    may_be_shown=True,
    robustbench=RobustBench(clean_accuracy=45.0, dictionaries="cifar_100_models"),
    files="cifar-100-binary or cifar-100-python, or what is in them",
    hub="uoft-cs/cifar100",
    download=by_torchvision("CIFAR100"),
)
