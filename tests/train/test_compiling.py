"""torch.compile as an option: the same training, the same checkpoint, and failures in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.errors import ConfigError
from lip_plugin.train.compiling import compiled
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

SIZES = {"depth": 1, "width": 4, "dense_width": 8, "dense_depth": 1, "neck_patch": 2}
# torch's own compiler uses functions that torch itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def _with_backend(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing and autograd as in earnest; what would be handed to a C++ compiler goes to ``backend``."""
    compile_: Callable[..., Any] = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend=backend))


def _run(compile_: bool) -> tuple[TrainState, list[Tensor]]:
    values = {"dataset": "mnist", "model": SIZES, "eps": 0.1, "epochs": 1, "batch_size": 8, "compile": compile_}
    config = TrainConfig.model_validate(values)
    state = initial_state(config, input_shape=(1, 8, 8), num_classes=3)
    state.model.train()
    generator = torch.Generator().manual_seed(0)
    figures: list[Tensor] = []
    for _ in range(3):
        x, y = torch.rand(8, 1, 8, 8, generator=generator), torch.randint(0, 3, (8,), generator=generator)
        figures.append(train_step(config, state, x, y, 0.1))
    return state, figures


def test_compiled_steps_are_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_backend("aot_eager", monkeypatch)
    plain, expected = _run(False)
    state, found = _run(True)
    assert state.forward is not state.model and plain.forward is plain.model
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-5, atol=1e-6)
    parameters, others = state.model.state_dict(), plain.model.state_dict()
    assert parameters.keys() == others.keys()  # no prefix of the compiled module in checkpoints
    for key, value in others.items():
        torch.testing.assert_close(parameters[key], value, rtol=1e-4, atol=1e-6)
    network = lp.freeze(state.model)  # what is frozen is the model, not what was compiled
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_a_compiler_that_fails_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler here\nand a second line")

    _with_backend(broken, monkeypatch)
    with pytest.raises(ConfigError, match=r"^torch.compile failed \(.*no compiler here\); train with compile=false$"):
        compiled(nn.Linear(2, 2))(torch.rand(1, 2))
