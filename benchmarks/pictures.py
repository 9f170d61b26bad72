"""Pictures of 224 pixels: how fast they are read, how fast a small net takes them, and peak memory by their number.

usage: python benchmarks/pictures.py DIR [--counts 64 1000 3925] [--workers 0 1 2] [--json FILE]

DIR has train/<class>/ and val/<class>/ with pictures. Each command of the second part is a process of its own
(--jobs 1); its peak is what the system says of it when it has ended.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peak_memory import peak_of
from torch import Tensor
from written_results import RESULTS, add_json_option, row, write_results

from lip_plugin.data import PictureSet, load_images
from lip_plugin.train.config import AugmentConfig, PictureConfig, load_config
from lip_plugin.train.state import initial_state
from lip_plugin.train.step import train_step
from lip_plugin.train.streaming import StreamedBatches

RECIPE = "imagenet_small"
BATCH = 64
WARM_UP, COUNTED = 6, 12
ATTACK = "autoattack:apgd-ce?n_iter=5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--counts", type=int, nargs="*", default=[64, 1000, 3925])
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*speeds(options.directory, options.workers)]
    with tempfile.TemporaryDirectory() as folder:
        for count in options.counts:
            rows += peaks(options.directory.resolve(), count, Path(folder) / str(count))
    write_results(
        options.json or RESULTS / "scaling" / "pictures.json", rows, recipe=RECIPE, batch=BATCH, attack=ATTACK
    )


def speeds(directory: Path, workers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Images a second of the loader alone, for training and for evaluation, beside those of the training step.

    Where this process decodes, both are by its CPU's clock; other processes take part of the machine, so with workers
    both are by the wall's.
    """
    train = load_images(f"folder:{directory}", "train")
    assert isinstance(train, PictureSet)
    for count in workers:
        clock = time.perf_counter if count else time.process_time
        step = seconds_of(steps(train.num_classes), clock)
        for augment, what in ((AugmentConfig(), "crop and flip"), (AugmentConfig(rand_augment=1), "RandAugment too")):
            sizes = PictureConfig(workers=count)
            batches = StreamedBatches(train.pictures, batch_size=BATCH, sizes=sizes, augment=augment)
            yield spoken(f"training pictures, {what}, {count} workers", seconds_of(batches.epoch(0), clock), step)
        blocks = load_images(f"folder:{directory}", "test", workers=count).blocks(BATCH, torch.float32)
        yield spoken(f"evaluated pictures, {count} workers", seconds_of(blocks, clock), step)


def seconds_of(batches: Iterable[tuple[Tensor, Tensor]], clock: Callable[[], float]) -> float:
    """Of an image, after a few batches: what workers have decoded ahead when they start is not counted as free."""
    wanted = iter(batches)
    for _ in islice(wanted, WARM_UP):
        pass
    begun = clock()
    done = sum(len(y) for _, y in islice(wanted, COUNTED))
    return (clock() - begun) / done


def steps(num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Training steps of the small net on one thread, without reading anything."""
    config = load_config(RECIPE, ["bfloat16=false"])
    state = initial_state(config, input_shape=(3, 224, 224), num_classes=num_classes)
    x, y = torch.rand(BATCH, 3, 224, 224), torch.arange(BATCH) % num_classes
    while True:
        train_step(config, state, x, y, config.eps)
        yield x, y


def spoken(what: str, seconds: float, step: float) -> dict[str, Any]:
    print(f"{what:50} {1 / seconds:7.1f} images/s, the step {1 / step:.1f}", flush=True)
    return row(what, seconds, "training step of an image", step, images_per_second=round(1 / seconds, 1))


def peaks(directory: Path, count: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Of each command on so many pictures: train on one epoch of them, and the others on the model that this leaves."""
    linked(directory / "train", folder / "images" / "train", count)
    linked(directory / "val", folder / "images" / "val", count)
    images, model = f"folder:{folder / 'images'}", str(folder / "model")
    asked = [model, "--data", images, "--eps", "36/255", "--quiet", "--jobs", "1", "--out"]
    commands = {
        "train": ["train", RECIPE, f"dataset={images}", "epochs=1", "--quiet", "--out", model],
        "certify": ["certify", *asked, str(folder / "certified")],
        "compare": ["compare", *asked, str(folder / "compared"), "--attacks", ATTACK, "--audit", "4"],
    }
    for name, words in commands.items():
        seconds, peak = peak_of(words)
        print(f"{name:8} {count:7,} images: {peak:7.1f} MiB, {seconds:.0f} s of CPU", flush=True)
        yield row(f"{name} {count} images", seconds, "", None, images=count, peak_mib=round(peak, 1))


def linked(source: Path, target: Path, count: int) -> None:
    """So many of the pictures, shared out evenly among the classes."""
    folders = sorted(entry for entry in source.iterdir() if entry.is_dir())
    for place, folder in enumerate(folders):
        (target / folder.name).mkdir(parents=True)
        wanted = count // len(folders) + (place < count % len(folders))
        for picture in islice(sorted(folder.iterdir()), wanted):
            (target / folder.name / picture.name).symlink_to(picture)


if __name__ == "__main__":
    main()
