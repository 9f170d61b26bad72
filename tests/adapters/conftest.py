"""A classifier whose boundary is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lip_plugin import testing
from lip_plugin.network import CertifiedClassifier

Problem = tuple[CertifiedClassifier, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def linear_problem() -> Callable[..., Problem]:
    """classes -> (model, images, labels, distances), see `lip_plugin.testing.linear_problem`."""

    def make(classes: int, **settings: Any) -> Problem:
        problem = testing.linear_problem(classes, **settings)
        return problem.model, problem.x, problem.y, problem.distance

    return make
