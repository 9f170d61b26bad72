"""What surrounds a call: modes, hooks and transforms that replace what torch computes are refused."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules import module as registry
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import lip_plugin as lp
from lip_plugin.certificates import certify_blocks

from .closed_form import (
    QUERIES,
    SHAPE,
    ask,
    assert_refused,
    assert_runs,
    assert_true,
    images,
    modules,
    network,
    numbers,
    trainable,
    truth,
)

Context = Callable[[], AbstractContextManager[Any]]


class TripledConvolutions(TorchFunctionMode):
    """What hooks into ``torch.*`` functions; autograd and C++ do not see it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return 3 * result if func is torch.nn.functional.conv2d else result


class TripledProducts(TorchDispatchMode):
    """What hooks into the kernels themselves."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return 3 * result if func is torch.ops.aten.addmm.default else result


def global_hook(register: str, hook: Callable[..., Any]) -> Context:
    @contextmanager
    def registered() -> Generator[None]:
        handle = getattr(registry, register)(hook)
        try:
            yield
        finally:
            handle.remove()

    return registered


FOREIGN: dict[str, tuple[Context, str]] = {
    "function mode": (TripledConvolutions, "under the torch mode TripledConvolutions"),
    "dispatch mode": (TripledProducts, "under the torch mode TripledProducts"),
    "function mode below a device": (lambda: _both(TripledConvolutions(), torch.device("cpu")), "TripledConvolutions"),
    "global hook": (
        global_hook("register_module_forward_hook", lambda module, inputs, output: 3 * output),
        "global module hooks",
    ),
    "global pre-hook": (
        global_hook("register_module_forward_pre_hook", lambda module, inputs: (inputs[0] / 3,)),
        "global module hooks",
    ),
}


@contextmanager
def _both(outer: Any, inner: Any) -> Generator[None]:
    with outer, inner:
        yield


@pytest.mark.parametrize("name", FOREIGN)
def test_surroundings_that_change_the_function_are_refused(name: str, tmp_path: Path) -> None:
    context, words = FOREIGN[name]
    given, x = numbers(), images()
    model = network(given)
    with context():
        assert not np.allclose(model(x).detach().numpy(), truth(given, x).logits, atol=0.1), "the case must matter"
        assert_refused(model, x, words, tmp_path)
        features, head = modules(given)
        with pytest.raises(lp.UnsupportedLayerError, match=words):
            lp.wrap(features, head, input_shape=SHAPE)
        with pytest.raises(lp.UnsupportedLayerError, match=words):
            lp.lipschitz_upper_bound(features, input_shape=SHAPE)
        with pytest.raises(lp.UnsupportedLayerError, match=words):
            lp.freeze(trainable())
    assert_true(ask(model, x), given, x)


def test_numbers_that_are_not_there_are_refused(tmp_path: Path) -> None:
    model = network(numbers())
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert_refused(model, images(), "FakeTensorMode", tmp_path)


def test_a_hook_on_the_making_of_buffers_is_refused_while_freezing() -> None:
    """It would put other weights into the frozen network than the modules have."""
    features, head = modules(numbers())
    double = global_hook("register_module_buffer_registration_hook", lambda module, name, buffer: 2 * buffer)
    with double(), pytest.raises(lp.UnsupportedLayerError, match="global module hooks"):
        lp.wrap(features, head, input_shape=SHAPE)
    assert lp.wrap(features, head, input_shape=SHAPE).digest == network(numbers()).digest


def test_modes_that_a_generator_of_blocks_enters_are_refused() -> None:
    """Entered inside a generator, a mode stays on while the generator waits."""
    model, x = network(numbers()), images()

    def blocks() -> Generator[Tensor]:
        yield x[:2]
        with TripledConvolutions():
            yield x[2:]

    with pytest.raises(lp.ConfigError, match="TripledConvolutions"):
        certify_blocks(model, blocks())


# --- transforms and tracers: their values are not numbers, or are computed by other programs ---


def _compiled(query: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled by a backend that gets every sum and product wrong."""

    def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            return tuple(
                3 * out if isinstance(out, Tensor) and out.is_floating_point() else out for out in graph(*arguments)
            )

        return run

    return torch.compile(query, backend=backend)


TRANSFORMS: dict[str, tuple[Callable[[Callable[..., Any]], Callable[..., Any]], str]] = {
    "vmap": (lambda query: lambda x: torch.func.vmap(query)(x[:, None]), "transform of torch.func"),
    "grad": (torch.func.grad, "transform of torch.func"),
    "jvp": (lambda query: lambda x: torch.func.jvp(query, (x,), (x,)), "transform of torch.func"),
    "functionalize": (torch.func.functionalize, "transform of torch.func"),
    "compile": (_compiled, "torch.compile"),
    "trace": (lambda query: lambda x: torch.jit.trace(query, x), "torch.jit.trace"),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.filterwarnings("ignore:.torch.jit", "ignore::torch.jit.TracerWarning")  # torch.func.jvp uses it too
def test_queries_inside_a_transform_are_refused(name: str) -> None:
    transform, words = TRANSFORMS[name]
    given, x = numbers(), images()
    model = network(given)
    for query in QUERIES.values():
        with pytest.raises(lp.ConfigError, match=words):
            transform(lambda batch, query=query: query(model, batch))(x)
    assert_true(ask(model, x), given, x)


def test_a_compiled_network_is_no_network_that_is_certified() -> None:
    model, x = network(numbers()), images()
    with pytest.raises(lp.ConfigError, match="immutable"):
        model.compile()
    with pytest.raises(lp.ConfigError, match="OptimizedModule is not a CertifiedClassifier"):
        lp.certify(torch.compile(model), x)  # pyright: ignore[reportArgumentType]
    features, head = modules(numbers())
    with pytest.raises(lp.UnsupportedLayerError, match="OptimizedModule"):
        lp.wrap(torch.compile(features).eval(), head, input_shape=SHAPE)  # pyright: ignore[reportFunctionMemberAccess]
    features.compile(backend="eager")
    with pytest.raises(lp.UnsupportedLayerError, match="replaced call"):
        lp.wrap(features, head, input_shape=SHAPE)
    assert_true(ask(model, x), numbers(), x)


def test_a_functional_call_with_other_buffers_reaches_neither_the_function_nor_the_certificate() -> None:
    given, x = numbers(), images()
    model = network(given)
    others = {name: torch.zeros_like(value) for name, value in model.named_buffers()}
    logits = torch.func.functional_call(model, others, (x,))
    assert np.allclose(logits.detach().numpy(), truth(given, x).logits, atol=1e-4)
    assert_true(ask(model, x), given, x)
    assert_runs(model, given, x)
