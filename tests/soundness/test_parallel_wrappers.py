"""Networks spread over processes: wrappers, shards and distributed tensors, in a group of one process."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore

import lip_plugin as lp

from .closed_form import QUERIES, SHAPE, ask, assert_runs, assert_true, images, modules, network, numbers, trainable


@pytest.fixture(scope="module")
def mesh() -> Generator[DeviceMesh]:
    """Of torch's own stand-in for a backend: gloo's threads outlive their group where DDP has held it."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
    try:
        yield init_device_mesh("cpu", (1,))
    finally:
        dist.destroy_process_group()


def _spread(module: nn.Module, mesh: DeviceMesh, placement: Shard | Replicate) -> None:
    for name, value in list(module.named_parameters(recurse=False)):
        module.register_parameter(name, nn.Parameter(distribute_tensor(value.data, mesh, [placement])))


def test_data_parallel_modules_are_refused_and_their_own_module_is_true(mesh: DeviceMesh) -> None:
    given, x = numbers(), images()
    features, head = modules(given)
    around, around_head = DistributedDataParallel(features).eval(), DistributedDataParallel(head).eval()
    with pytest.raises(lp.UnsupportedLayerError, match=r"features is .*DistributedDataParallel, which has"):
        lp.wrap(around, head, input_shape=SHAPE)
    with pytest.raises(lp.UnsupportedLayerError, match="head is DistributedDataParallel"):
        lp.wrap(features, around_head, input_shape=SHAPE)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        around(x)
    model = lp.wrap(around.module, around_head.module, input_shape=SHAPE)
    assert_true(ask(model, x), given, x)
    assert_runs(model, given, x)


def test_a_trainable_model_in_a_data_parallel_wrapper_is_refused_and_itself_frozen(mesh: DeviceMesh) -> None:
    model = trainable()
    expected = lp.freeze(model).digest
    around = DistributedDataParallel(model)
    with pytest.raises(lp.UnsupportedLayerError, match="DistributedDataParallel cannot be frozen"):
        lp.freeze(around)
    assert lp.freeze(around.module).digest == lp.freeze(model).digest == expected


@pytest.mark.parametrize("placement", [Shard(0), Replicate()], ids=["shard", "replicate"])
@pytest.mark.parametrize("part", ["features", "head", "model"])
def test_distributed_weights_are_refused(part: str, placement: Shard | Replicate, mesh: DeviceMesh) -> None:
    features, head = modules(numbers())
    model = trainable()
    _spread({"features": features[0], "head": head, "model": model.get_submodule("stem.conv")}[part], mesh, placement)
    with pytest.raises(lp.UnsupportedLayerError, match="holds weight of the foreign tensor type DTensor"):
        lp.freeze(model) if part == "model" else lp.wrap(features, head, input_shape=SHAPE)


def test_fully_sharded_modules_are_refused(mesh: DeviceMesh) -> None:
    features, head = modules(numbers())
    fully_shard(features, mesh=mesh)
    with pytest.raises(lp.UnsupportedLayerError, match=r"features \(FSDPSequential\) has hooks"):
        lp.wrap(features, head, input_shape=SHAPE)
    features, head = modules(numbers())
    fully_shard(head, mesh=mesh)
    with pytest.raises(lp.UnsupportedLayerError, match=r"head is FSDPLinear; expected torch\.nn\.Linear"):
        lp.wrap(features, head, input_shape=SHAPE)
    model = trainable()
    fully_shard(model, mesh=mesh)
    with pytest.raises(lp.UnsupportedLayerError, match=r"model \(FSDPLiResNetPP\) has hooks"):
        lp.freeze(model)


def test_distributed_images_are_refused(mesh: DeviceMesh) -> None:
    """One process of several would hold only its own part of them."""
    model, x = network(numbers()), images()
    for placement in (Shard(0), Replicate()):
        spread: Any = distribute_tensor(x, mesh, [placement])
        for name, query in QUERIES.items():
            if "lipschitz" not in name:
                with pytest.raises(lp.DataError, match="foreign tensor type DTensor"):
                    query(model, spread)
    assert_true(ask(model, x), numbers(), x)
