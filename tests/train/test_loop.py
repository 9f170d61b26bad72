"""Two epochs on a tiny synthetic set: the loss falls, resuming changes no bit, and nothing broken is kept."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.data import ImageSet, checked_image_set
from lip_plugin.errors import CheckpointError, ConfigError, StoppedError
from lip_plugin.models import LiResNet, LiResNetPP
from lip_plugin.train.checkpoint import CHECKPOINT_FILE, load_checkpoint
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.interrupt import StopRequest
from lip_plugin.train.loop import Hooks, train
from lip_plugin.train.state import TrainState, initial_state

MODELS: dict[str, dict[str, object]] = {
    "liresnet": {"architecture": "liresnet", "depth": 1, "width": 4, "dense_width": 8},
    "liresnet_pp": {
        "architecture": "liresnet_pp",
        "depth": 1,
        "width": 4,
        "dense_width": 8,
        "dense_depth": 1,
        "neck_patch": 2,
    },
}


def _config(**changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "dataset": "mnist",
        "model": MODELS["liresnet_pp"],
        "eps": 0.1,
        "eps_ramp": (1.0, 1.0),
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 0.01,
        "augment": {"crop": 1, "flip": True},
        "weight_average": 0.9,
    }
    return TrainConfig.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def images(halves: Callable[[int, int], ImageSet]) -> ImageSet:
    return halves(200, 1)


def _states_after_each_epoch(config: TrainConfig, data: ImageSet, run_dir: Path) -> list[TrainState]:
    run_dir.mkdir(exist_ok=True)
    states: list[TrainState] = []
    train(config, data, run_dir=run_dir, hooks=Hooks(on_epoch=lambda state: states.append(_snapshot(state))))
    return states


def _snapshot(state: TrainState) -> TrainState:
    model, average = copy.deepcopy((state.model, state.average))
    return dataclasses.replace(state, model=model, average=average, losses=list(state.losses))


def build_state(config: TrainConfig) -> TrainState:
    return initial_state(config, input_shape=(1, 8, 8), num_classes=2)


def _assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


@pytest.mark.parametrize("architecture", ["liresnet", "liresnet_pp"])
def test_two_epochs_lower_the_loss_and_separate_the_classes(
    architecture: str, images: ImageSet, tmp_path: Path
) -> None:
    config = _config(model=MODELS[architecture], weight_average=0.0)
    states = _states_after_each_epoch(config, images, tmp_path)
    model = states[-1].model
    assert isinstance(model, LiResNet if architecture == "liresnet" else LiResNetPP)
    assert states[-1].losses[1] < states[-1].losses[0]
    x, y = images.tensors(torch.float32)
    network = lp.freeze(model)
    assert float((network(x).argmax(1) == y).double().mean()) > 0.95
    certificate = lp.certify(network, x)
    assert lp.verified_robust_accuracy(certificate, y, 0.1) > 0.5


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resuming_changes_no_bit(average: float, images: ImageSet, tmp_path: Path) -> None:
    config = _config(weight_average=average)
    first, second = _states_after_each_epoch(config, images, tmp_path / "whole")

    class Stopped(Exception):
        """Stands for a killed process."""

    def stop(state: TrainState) -> None:
        raise Stopped

    (tmp_path / "cut").mkdir()
    with pytest.raises(Stopped):
        train(config, images, run_dir=tmp_path / "cut", hooks=Hooks(on_epoch=stop))
    saved = load_checkpoint(tmp_path / "cut")
    assert saved["epoch"] == 1
    _assert_equal(saved["model"], first.model.state_dict())
    torch.manual_seed(99)  # another process has another global generator
    steps: list[int] = []
    resumed = train(
        config,
        images,
        run_dir=tmp_path / "cut",
        resume=True,
        hooks=Hooks(on_step=lambda count, note: steps.append(count)),
    )
    _assert_equal(resumed.state_dict(), second.result.state_dict())
    whole, cut = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "cut")
    for key in ("model", "estimates", *(["average"] if average else [])):
        _assert_equal(whole[key], cut[key])
    assert whole["losses"] == cut["losses"] and len(cut["losses"]) == 2
    assert sum(steps) == 2 * 12 * 16  # every image of both epochs is accounted for
    assert any(not torch.equal(a, b) for a, b in zip(saved["model"].values(), cut["model"].values(), strict=True))
    again = train(config, images, run_dir=tmp_path / "cut", resume=True)  # finished: nothing left to do
    _assert_equal(again.state_dict(), resumed.state_dict())


@pytest.mark.parametrize(
    "settings",
    [{}, {"optimiser": "nadam", "lookahead": True}, {"loss": "gloro_trades", "weight_average": 0.0}],
    ids=["adamw", "nadam-lookahead", "trades"],
)
def test_a_stop_in_the_middle_of_an_epoch_changes_no_bit(
    settings: dict[str, object], images: ImageSet, tmp_path: Path
) -> None:
    """A signal after 17 steps: five steps into the second epoch, in the middle of Lookahead's six."""
    config = _config(**settings)
    _states_after_each_epoch(config, images, tmp_path / "whole")
    request, steps = StopRequest(), [0]

    def after_17(count: int, note: str) -> None:
        steps[0] += 1
        if steps[0] == 17:
            request.received = signal.SIGTERM

    (tmp_path / "cut").mkdir()
    with pytest.raises(StoppedError, match=r"SIGTERM in epoch 2 after 5 steps.*--resume") as stopped:
        train(config, images, run_dir=tmp_path / "cut", hooks=Hooks(on_step=after_17, stop=request))
    assert stopped.value.signal == 15
    train(config, images, run_dir=tmp_path / "cut", resume=True)
    whole, cut = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "cut")
    for key in ("model", "estimates", *(["average"] if config.weight_average else [])):
        _assert_equal(whole[key], cut[key])
    assert whole["losses"] == cut["losses"] and len(whole["losses"]) == 2


def test_lookahead_is_its_recursion(images: ImageSet, tmp_path: Path) -> None:
    """After six steps: half-way from the start to where plain NAdam has come; slow weights start at the start."""
    one_epoch = {"epochs": 1, "optimiser": "nadam", "weight_average": 0.0, "batch_size": 33}  # six steps
    start = build_state(_config(**one_epoch)).model.state_dict()
    fast = _states_after_each_epoch(_config(**one_epoch), images, tmp_path / "fast")[0].model.state_dict()
    slow = _states_after_each_epoch(_config(**one_epoch, lookahead=True), images, tmp_path / "slow")[
        0
    ].model.state_dict()
    for key in ("head.weight", "stem.conv.weight", "backbone.weights"):
        torch.testing.assert_close(slow[key], (start[key] + fast[key]) / 2, rtol=1e-5, atol=1e-7)
        assert not torch.equal(start[key], fast[key])


def test_a_run_depends_on_its_seed_alone(images: ImageSet, tmp_path: Path) -> None:
    torch.manual_seed(1)
    a = _states_after_each_epoch(_config(epochs=1), images, tmp_path / "a")[0]
    torch.manual_seed(2)
    b = _states_after_each_epoch(_config(epochs=1), images, tmp_path / "b")[0]
    c = _states_after_each_epoch(_config(epochs=1, seed=5), images, tmp_path / "c")[0]
    _assert_equal(a.model.state_dict(), b.model.state_dict())
    assert not torch.equal(a.model.state_dict()["head.weight"], c.model.state_dict()["head.weight"])


def test_weight_average_is_the_recursion(images: ImageSet, tmp_path: Path) -> None:
    """One step per epoch: average_1 = d start + (1 - d) w_1, average_2 = d average_1 + (1 - d) w_2."""
    config = _config(batch_size=200, weight_average=0.75)
    first, second = _states_after_each_epoch(config, images, tmp_path)
    for key, value in second.result.state_dict().items():
        expected = 0.75 * first.result.state_dict()[key] + 0.25 * second.model.state_dict()[key]
        assert torch.allclose(value, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 0.02}, {"epochs": 3}, {"eps": 0.2}])
def test_another_config_is_not_resumed(change: dict[str, object], images: ImageSet, tmp_path: Path) -> None:
    _states_after_each_epoch(_config(epochs=1), images, tmp_path)
    (name, value), was = *change.items(), _config(epochs=1)
    with pytest.raises(CheckpointError, match=f"another config: {name} was {getattr(was, name)}, now {value};"):
        train(_config(**{"epochs": 1, **change}), images, run_dir=tmp_path, resume=True)


def test_a_checkpoint_of_another_model_is_refused(images: ImageSet, tmp_path: Path) -> None:
    config = _config(epochs=1)
    _states_after_each_epoch(config, images, tmp_path)
    saved = load_checkpoint(tmp_path)
    for key in ("model", "average", "optimiser", "estimates", "sums", "epoch", "step"):
        torch.save({name: value for name, value in saved.items() if name != key}, tmp_path / CHECKPOINT_FILE)
        with pytest.raises(CheckpointError, match="another model"):
            train(config, images, run_dir=tmp_path, resume=True)
    saved["model"]["head.weight"] = torch.zeros(5, 8)
    torch.save(saved, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(CheckpointError, match="another model"):
        train(config, images, run_dir=tmp_path, resume=True)


class _Boom:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.path, "w")


def test_damaged_and_malicious_checkpoints_are_refused(images: ImageSet, tmp_path: Path) -> None:
    config, file = _config(epochs=1), tmp_path / CHECKPOINT_FILE
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(config, images, run_dir=tmp_path, resume=True)
    _states_after_each_epoch(config, images, tmp_path)
    content = file.read_bytes()
    for damaged in (b"", b"text", content[: len(content) // 2], content[:-10]):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is not a checkpoint"):
            train(config, images, run_dir=tmp_path, resume=True)
    generator = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(content)
        for position in generator.integers(0, len(content), 3):
            changed[position] = int(generator.integers(0, 256))
        file.write_bytes(changed)
        try:
            load_checkpoint(tmp_path)
        except CheckpointError as error:
            assert "\n" not in str(error)
    file.write_bytes(pickle.dumps({"a": 1}, protocol=4))  # torch warns of it
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_checkpoint(tmp_path)
    for foreign in ([1, 2], torch.zeros(3), _Boom(str(tmp_path / "boom"))):
        torch.save(foreign, file)
        with pytest.raises(CheckpointError, match="is not a checkpoint"):
            train(config, images, run_dir=tmp_path, resume=True)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("architecture", ["liresnet", "liresnet_pp"])
@pytest.mark.parametrize("learning_rate", [1e30, 1e18])
def test_an_absurd_learning_rate_is_a_config_error(
    architecture: str, learning_rate: float, images: ImageSet, tmp_path: Path
) -> None:
    config = _config(model=MODELS[architecture], learning_rate=learning_rate)
    with pytest.raises(ConfigError, match="lower learning_rate"):
        train(config, images, run_dir=tmp_path)
    saved = load_checkpoint(tmp_path)  # the one of the start
    assert (saved["epoch"], saved["step"]) == (0, 0)


@pytest.mark.parametrize("architecture", ["liresnet", "liresnet_pp"])
def test_weights_that_become_nan_keep_the_last_checkpoint(architecture: str, images: ImageSet, tmp_path: Path) -> None:
    config = _config(model=MODELS[architecture])

    def spoil(state: TrainState) -> None:
        with torch.no_grad():
            state.model.get_parameter("neck." + ("kernel" if architecture == "liresnet_pp" else "conv.weight")).fill_(
                float("nan")
            )

    with pytest.raises(ConfigError, match="lower learning_rate"):
        train(config, images, run_dir=tmp_path, hooks=Hooks(on_epoch=spoil))
    saved = load_checkpoint(tmp_path)
    assert saved["epoch"] == 1 and all(value.isfinite().all() for value in saved["model"].values())
    shutil.copy(tmp_path / CHECKPOINT_FILE, tmp_path / "kept")
    train(config, images, run_dir=tmp_path, resume=True)  # and it is good enough to go on from
    assert load_checkpoint(tmp_path)["epoch"] == 2


def test_a_last_step_that_ruins_the_weights_is_not_saved(images: ImageSet, tmp_path: Path) -> None:
    """One step per epoch: its loss is finite, and the weights after it are not."""
    config = _config(batch_size=200, learning_rate=1e30, weight_decay=1e10)
    with pytest.raises(ConfigError, match="lower learning_rate"):
        train(config, images, run_dir=tmp_path)
    saved = load_checkpoint(tmp_path)  # the one of the start
    assert (saved["epoch"], saved["step"]) == (0, 0)


def test_data_that_cannot_be_trained_on_is_refused(images: ImageSet, tmp_path: Path) -> None:
    floats = checked_image_set(images.pixels / np.float32(255), images.labels, name="n", source="s")
    with pytest.raises(ConfigError, match="uint8"):
        train(_config(), floats, run_dir=tmp_path)
    with pytest.raises(ConfigError, match="at least one batch of 16, got 15"):
        train(_config(), images.first(15), run_dir=tmp_path)
    with pytest.raises(CheckpointError, match="cannot write"):
        train(_config(epochs=1), images, run_dir=tmp_path / "absent")


def test_checkpoints_within_an_epoch_let_a_killed_run_go_on(images: ImageSet, tmp_path: Path) -> None:
    """A process that dies without a word in its first epoch: what it had saved goes on to the same weights."""
    config = _config(epochs=1, checkpoint_seconds=1e-9)  # after every step
    _states_after_each_epoch(_config(epochs=1), images, tmp_path / "whole")

    class Killed(Exception):
        """Stands for kill -9."""

    steps = [0]

    def die_after_7(count: int, note: str) -> None:
        steps[0] += 1
        if steps[0] == 7:
            raise Killed

    (tmp_path / "cut").mkdir()
    with pytest.raises(Killed):
        train(config, images, run_dir=tmp_path / "cut", hooks=Hooks(on_step=die_after_7))
    assert load_checkpoint(tmp_path / "cut")["step"] == 6
    train(config, images, run_dir=tmp_path / "cut", resume=True)
    _assert_equal(load_checkpoint(tmp_path / "cut")["model"], load_checkpoint(tmp_path / "whole")["model"])


def test_a_run_that_dies_before_its_first_step_can_be_resumed(images: ImageSet, tmp_path: Path) -> None:
    def die(count: int, note: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(_config(), images, run_dir=tmp_path, hooks=Hooks(on_step=die))
    saved = load_checkpoint(tmp_path)
    assert (saved["epoch"], saved["step"]) == (0, 0)
    train(_config(), images, run_dir=tmp_path, resume=True)
    assert load_checkpoint(tmp_path)["epoch"] == 2


def test_generated_images_join_every_batch(images: ImageSet, tmp_path: Path) -> None:
    """Twice as many generated ones as real ones: the progress counts both, and they change what is learned."""
    pixels = np.zeros((50, 8, 8, 1), np.uint8)
    pixels[25:] = 255
    np.savez(tmp_path / "made.npz", image=pixels, label=np.repeat([0, 1], 25))
    config = _config(epochs=1, generated={"path": str(tmp_path / "made.npz"), "ratio": 2.0})
    counts: list[int] = []
    (tmp_path / "run").mkdir()
    model = train(
        config, images, run_dir=tmp_path / "run", hooks=Hooks(on_step=lambda count, note: counts.append(count))
    )
    assert counts == [48] * 12
    plain = _states_after_each_epoch(_config(epochs=1), images, tmp_path / "plain")[0].result
    assert not torch.equal(model.state_dict()["head.weight"], plain.state_dict()["head.weight"])
    with pytest.raises(lp.DataError, match="made"):
        bad = _config(epochs=1, generated={"path": str(tmp_path / "not_made.npz")})
        train(bad, images, run_dir=tmp_path / "run")


def test_a_full_disk_leaves_the_last_good_checkpoint(images: ImageSet, tmp_path: Path) -> None:
    """/dev/full answers every write with "no space left on device"."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")

    def fill_the_disk(state: TrainState) -> None:
        (tmp_path / f".{CHECKPOINT_FILE}.partial").symlink_to(full)

    with pytest.raises(CheckpointError, match=r"cannot write a checkpoint .*No space left"):
        train(_config(), images, run_dir=tmp_path, hooks=Hooks(on_epoch=fill_the_disk))
    assert load_checkpoint(tmp_path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT_FILE]  # nothing half written is left
    train(_config(), images, run_dir=tmp_path, resume=True)
    assert load_checkpoint(tmp_path)["epoch"] == 2


def test_a_stop_at_the_end_of_an_epoch_is_heard(images: ImageSet, tmp_path: Path) -> None:
    """Also after the last one, whose weights --resume goes on to certify."""
    for epochs, expected in ((2, 1), (1, 1)):
        request = StopRequest()

        def ask(state: TrainState, request: StopRequest = request) -> None:
            request.received = signal.SIGTERM

        run_dir = tmp_path / str(epochs)
        run_dir.mkdir()
        with pytest.raises(StoppedError, match="SIGTERM"):
            train(_config(epochs=epochs), images, run_dir=run_dir, hooks=Hooks(on_epoch=ask, stop=request))
        assert (load_checkpoint(run_dir)["epoch"], load_checkpoint(run_dir)["step"]) == (expected, 0)


def test_estimates_follow_the_run_to_its_device(images: ImageSet, tmp_path: Path) -> None:
    """A checkpoint is read to the CPU; "meta" stands for a GPU."""
    _states_after_each_epoch(_config(epochs=1, weight_average=0.0), images, tmp_path)
    state = build_state(_config(epochs=1, weight_average=0.0))
    state.sums = torch.zeros(3, device="meta")
    state.load_state_dict(load_checkpoint(tmp_path))
    assert {vector.device.type for vector in state.estimates.vectors.values()} == {"meta"}
