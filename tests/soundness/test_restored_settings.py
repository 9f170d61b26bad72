"""What certifying sets for itself, that everything comes back, and that float32 precision settings cannot reach it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import lip_plugin as lp
from lip_plugin.certificates import certify_blocks
from lip_plugin.certificates.arithmetic import certifying_arithmetic
from lip_plugin.devices import keep_float32
from lip_plugin.network import inexact_float32

from .closed_form import ask, assert_true, images, network, numbers

_C: Any = torch._C  # pyright: ignore[reportPrivateUsage]


def _fp32(backend: str, operation: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Getter and setter as `torch.backends` uses them: the public ones refuse mixtures, which users can have."""
    return (
        lambda: _C._get_fp32_precision_getter(backend, operation),
        lambda value: _C._set_fp32_precision_setter(backend, operation, value),
    )


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], tuple[Any, ...]]] = {
    # name: (read, write, values that a user may have chosen)
    "cudnn": (_C._get_cudnn_enabled, _C._set_cudnn_enabled, (True, False)),
    "cudnn benchmark": (_C._get_cudnn_benchmark, _C._set_cudnn_benchmark, (True, False)),
    "cudnn deterministic": (_C._get_cudnn_deterministic, _C._set_cudnn_deterministic, (True, False)),
    "cudnn convolutions": (*_fp32("cuda", "conv"), ("tf32", "ieee")),
    "cudnn recurrences": (*_fp32("cuda", "rnn"), ("tf32", "ieee")),
    "cuda products": (*_fp32("cuda", "matmul"), ("tf32", "ieee")),
    "oneDNN": (_C._get_mkldnn_enabled, _C._set_mkldnn_enabled, (True, False)),
    "oneDNN convolutions": (*_fp32("mkldnn", "conv"), ("bf16", "ieee")),
    "oneDNN products": (*_fp32("mkldnn", "matmul"), ("bf16", "ieee")),
    # What torch.use_deterministic_algorithms sets; that one imports the compiler, which takes seconds.
    "deterministic kernels": (
        torch.are_deterministic_algorithms_enabled,
        lambda value: _C._set_deterministic_algorithms(value, warn_only=False),
        (True, False),
    ),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype, (torch.float16, torch.float32)),
    "default device": (torch.get_default_device, torch.set_default_device, (torch.device("meta"),)),
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled, (True, False)),
    "CPU autocast": (
        lambda: torch.is_autocast_enabled("cpu"),
        lambda value: torch.set_autocast_enabled("cpu", value),
        (True, False),
    ),
    "threads": (torch.get_num_threads, torch.set_num_threads, (2,)),
}


def state() -> dict[str, Any]:
    """All settings, and what else the process shares: generators of random numbers, modes, autocast's dtype."""
    kept = {name: read() for name, (read, _, _) in SETTINGS.items()}
    kept["random numbers"] = torch.random.get_rng_state().tolist()
    kept["modes"] = (_C._len_torch_function_stack(), _C._len_torch_dispatch_stack(), torch.is_inference_mode_enabled())
    kept["autocast dtype"] = torch.get_autocast_dtype("cpu")
    return kept


@pytest.fixture
def settings_back() -> Generator[None]:
    """For tests that change settings of the process: afterwards they are as before."""
    before = {name: read() for name, (read, _, _) in SETTINGS.items()}
    older = torch.backends.cudnn.allow_tf32
    yield
    torch.set_default_device(None)
    _C._set_cudnn_allow_tf32(older)  # a flag of its own, which must fit the newer ones to be read
    for name, value in before.items():
        if name != "default device":
            SETTINGS[name][1](value)


def _interrupted(x: Tensor) -> Generator[Tensor]:
    yield x
    raise KeyboardInterrupt


Certify = Callable[[lp.CertifiedClassifier, Tensor], object]
ENDINGS: dict[str, tuple[float, Certify, type[BaseException] | None]] = {
    # name: (factor of all weights, the call, what it raises)
    "proof": (1.0, ask, None),
    "bad pixels": (1.0, lambda model, x: certify_blocks(model, [x, x + 2]), lp.DataError),
    "overflow": (1e160, lambda model, x: lp.certify(model, x), lp.DataError),
    "no bound": (torch.nan, lambda model, x: lp.certify(model, x), lp.UnsupportedLayerError),
    "no bound alone": (torch.nan, lambda model, x: lp.lipschitz_upper_bound(model), lp.UnsupportedLayerError),
    "interrupt": (1.0, lambda model, x: certify_blocks(model, _interrupted(x)), KeyboardInterrupt),
    "too large": (1e150, lambda model, x: lp.certify(model, x, arithmetic="float64"), lp.ConfigError),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_comes_back_however_it_ends(setting: str, ending: str, settings_back: None) -> None:
    factor, certify, error = ENDINGS[ending]
    model, x = network(numbers(), torch.float64), images(torch.float64)
    for buffer in model.buffers():
        buffer.mul_(factor)
    _, write, values = SETTINGS[setting]
    for value in values:
        write(value)
        before = state()
        if error is None:
            certify(model, x)
        else:
            with pytest.raises(error):
                certify(model, x)
        assert state() == before


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_changes_the_certificate(setting: str, settings_back: None) -> None:
    given, x = numbers(), images()
    model = network(given)
    expected = lp.certify(model, x)
    for value in SETTINGS[setting][2]:
        SETTINGS[setting][1](value)
        said = ask(model, x)
        torch.set_default_device(None)  # for the comparison
        assert_true(said, given, x)
        assert torch.equal(said.certificate.radius, expected.radius)


def test_all_settings_at_once_change_nothing(settings_back: None) -> None:
    """cuDNN's flags cannot be read as one where its operations differ; certifying must not try."""
    given, x = numbers(), images()
    model = network(given)
    for _, write, values in SETTINGS.values():
        write(values[0])
    SETTINGS["cudnn recurrences"][1]("ieee")
    before = state()
    said = ask(model, x)
    assert state() == before
    torch.set_default_device(None)
    assert_true(said, given, x)


def test_certifying_switches_off_what_could_change_a_proof(settings_back: None) -> None:
    torch.set_default_device("meta")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
        with certifying_arithmetic():
            assert not _C._get_cudnn_enabled()
            assert not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda")
            assert not torch.is_grad_enabled()
            assert torch.zeros(1).device.type == "cpu"
        assert torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        assert torch.zeros(1).device.type == "meta"


def test_switching_cudnn_off_works_where_its_flags_are_frozen(
    monkeypatch: pytest.MonkeyPatch, settings_back: None
) -> None:
    """As after `torch.backends.disable_global_flags`, which cannot be undone."""
    backends: Any = torch.backends
    monkeypatch.setattr(getattr(backends, "m", backends), "__allow_nonbracketed_mutation_flag", False)
    with pytest.raises(RuntimeError, match="not allowed"):
        torch.backends.cudnn.enabled = False
    given, x = numbers(), images()
    assert_true(ask(network(given), x), given, x)


class Recorded(TorchDispatchMode):
    """The dtypes of everything that products, convolutions and factorisations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::").split(".")[0]
        if any(part in name for part in ("mm", "mv", "conv", "linalg", "dot", "cholesky")):
            tensors = [value for value in (*args, result) if isinstance(value, Tensor) and value.is_floating_point()]
            self.dtypes.setdefault(name, set()).update(value.dtype for value in tensors)
        return result


def test_tf32_and_reduced_precision_cannot_matter_because_every_product_of_a_proof_is_in_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The settings of float32 products say nothing about float64 ones, on any device.

    Beside the proof the forward runs as it is. Float32 products of "forward": tests/network/test_sums.py.
    """
    for module in ("lip_plugin.network.integrity", "lip_plugin.certificates.arithmetic"):
        monkeypatch.setattr(f"{module}.foreign_surroundings", lambda: None)  # it would refuse the recorder
    model, x = network(numbers(77)), images()  # weights of which no bound is remembered
    logits = model(x).double()
    monkeypatch.setattr("lip_plugin.certificates.certificate._forward", lambda model, x: logits)
    with Recorded() as recorded:
        for arithmetic in ("real", "float64", "float32"):
            lp.certify(model, x, arithmetic=arithmetic)
    assert {"convolution", "addmm", "mm"} & set(recorded.dtypes) >= {"convolution", "addmm"}
    assert any("cholesky" in name for name in recorded.dtypes)
    assert set().union(*recorded.dtypes.values()) == {torch.float64}


def do_what_it_says(error: lp.ConfigError) -> None:
    exec(str(error).partition("; set ")[2].removesuffix(", or certify another arithmetic"))


@pytest.mark.parametrize("setting", ["oneDNN convolutions", "oneDNN products"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certificate_of_the_forward_is_refused_where_float32_is_something_else(
    setting: str, dtype: torch.dtype, settings_back: None
) -> None:
    """Its errors can hide in the slack, so that the setting is asked; what is float64 is not concerned."""
    model, x = network(numbers(), dtype), images(dtype)
    expected = lp.certify(model, x, arithmetic="forward").radius
    _, write, (reduced, _) = SETTINGS[setting]
    write(reduced)
    if dtype == torch.float32:
        with pytest.raises(lp.ConfigError, match=r"takes (convolutions|products) in bf16; set ") as caught:
            lp.certify(model, x, arithmetic="forward")
        with pytest.raises(lp.ConfigError, match="in bf16"):
            lp.predict(model, x, eps=0.1)
        lp.certify(model, x)
        do_what_it_says(caught.value)
    assert torch.equal(lp.certify(model, x, arithmetic="forward").radius, expected)


def test_precision_is_inherited_as_torch_does(settings_back: None) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    SETTINGS["cudnn convolutions"][1]("tf32")
    SETTINGS["cuda products"][1]("tf32")
    assert inexact_float32(cpu) is None
    expected = ("convolutions", "cudnn.conv"), ("products", "cuda.matmul")
    for name, place in expected:
        said = str(inexact_float32(cuda))
        assert said == f'takes {name} in tf32; set torch.backends.{place}.fp32_precision = "ieee"'
        exec(said.partition("; set ")[2])
    assert inexact_float32(cuda) is None
    SETTINGS["cudnn convolutions"][1]("tf32")
    keep_float32(cuda)
    assert inexact_float32(cuda) is None


def test_older_releases_of_torch_are_asked_by_their_own_flags(
    settings_back: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    keep_float32(cuda)
    monkeypatch.delattr(_C, "_get_fp32_precision_getter")
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "highest")
    assert inexact_float32(cpu) is inexact_float32(cuda) is None
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    said = 'takes products in tf32; set torch.set_float32_matmul_precision("highest")'
    assert inexact_float32(cpu) == inexact_float32(cuda) == said


def test_a_certificate_of_the_forward_is_refused_where_nnpack_convolves(settings_back: None) -> None:
    """Without oneDNN torch takes NNPACK's Winograd kernels for batches of 16 and more: no sums of products."""
    if not torch.backends.nnpack.is_available():
        pytest.skip("this torch has no NNPACK")
    model, x = network(numbers()), images()
    SETTINGS["oneDNN"][1](False)
    with pytest.raises(lp.ConfigError, match="by NNPACK") as caught:
        lp.certify(model, x, arithmetic="forward")
    with torch.backends.nnpack.flags(enabled=True):  # afterwards as before
        do_what_it_says(caught.value)
        assert bool((lp.certify(model, x, arithmetic="forward").radius > 0).any())
