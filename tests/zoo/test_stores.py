"""Models from a store: a web server that misbehaves, a server that speaks as the hub does; never the network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import lip_plugin as lp
from lip_plugin.zoo.stores import store, web

from .servers import Hub, Server, running

SHAPE = (1, 28, 28)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A linear classifier, some 30 kB, with a card that has figures."""
    torch.manual_seed(0)
    directory = tmp_path / "tiny"
    card = lp.Provenance(authors="A. Author", licence="MIT (weights)")
    lp.wrap(nn.Flatten().eval(), nn.Linear(784, 10).eval(), input_shape=SHAPE).save(
        directory, dataset="fashion_mnist", card=card
    )
    path = directory / "card.json"
    content = json.loads(path.read_text("utf-8"))
    measured = {
        "clean_accuracy": 80.5,
        "verified_robust_accuracy": {"36/255": 70.25},
        "images": 100,
        "arithmetic": "real",
    }
    path.write_text(json.dumps(content | {"name": "tiny", "measured": measured}), "utf-8")
    return directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(store.CACHE_FOLDER, str(tmp_path / "cache"))
    for name in store.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    store.fetched.cache_clear()
    yield tmp_path / "cache"
    store.fetched.cache_clear()


def files_of(model_dir: Path) -> dict[str, bytes]:
    return {f"/zoo/tiny/{name}": (model_dir / name).read_bytes() for name in ("card.json", "model.safetensors")}


@pytest.fixture
def server(model_dir: Path) -> Iterator[Server]:
    told = Server(files_of(model_dir))
    with running(told):
        yield told


@pytest.fixture
def pinned(server: Server) -> str:
    return f"{server.address}/zoo/tiny#sha256={hashlib.sha256(server.files['/zoo/tiny/card.json']).hexdigest()}"


def again(reference: str) -> lp.CertifiedClassifier:
    """As another process would load it."""
    store.fetched.cache_clear()
    return lp.load_model(reference)


# --- the web ---


def test_a_model_from_a_server_is_the_model_and_is_fetched_once(server: Server, pinned: str, model_dir: Path) -> None:
    assert lp.load_model(pinned).digest == lp.load_model(model_dir).digest
    assert lp.model_card(pinned).name == "tiny"
    assert [path for path, _ in server.asked] == ["/zoo/tiny/card.json", "/zoo/tiny/model.safetensors"]
    again(pinned)
    assert len(server.asked) == 2  # the pin says that nothing can have changed


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch, server: Server) -> str:
    """The server as one with encryption."""
    monkeypatch.setattr(web.HttpStore, "_address", web.HttpsStore.__dict__["_address"])
    return f"{server.address}/zoo/tiny/"


def test_a_changed_model_is_fetched_again_and_an_unchanged_one_is_not(
    server: Server, unpinned: str, model_dir: Path
) -> None:
    first = again(unpinned).digest
    assert again(unpinned).digest == first
    assert [path.rpartition("/")[2] for path, _ in server.asked] == ["card.json", "model.safetensors", "card.json"]
    lp.wrap(nn.Flatten().eval(), nn.Linear(784, 10).eval(), input_shape=SHAPE).save(model_dir.parent / "other")
    server.files = files_of(model_dir.parent / "other")
    assert again(unpinned).digest != first


def test_offline_the_card_that_was_seen_last_counts(
    server: Server, unpinned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = again(unpinned).digest
    monkeypatch.setenv("LIP_PLUGIN_OFFLINE", "1")
    asked = len(server.asked)
    assert again(unpinned).digest == digest and len(server.asked) == asked
    with pytest.raises(lp.ConfigError, match=r"not in .*cache, and this is offline"):
        again(f"{server.address}/zoo/none")
    assert len(server.asked) == asked


def test_a_transfer_that_was_cut_off_goes_on(server: Server, pinned: str, cache: Path) -> None:
    server.cut = 2000
    with pytest.raises(lp.CheckpointError, match=r"cut off.*the same command goes on"):
        again(pinned)
    (begun,) = (cache / "begun").iterdir()
    assert begun.stat().st_size == 2000 and not (cache / "models").exists()
    again(pinned)
    assert server.asked[-1] == ("/zoo/tiny/model.safetensors", "bytes=2000-")
    assert not list((cache / "begun").iterdir())


def test_a_beginning_of_something_else_is_thrown_away(server: Server, pinned: str, cache: Path) -> None:
    card = json.loads(server.files["/zoo/tiny/card.json"])
    (cache / "begun").mkdir(parents=True)
    (cache / "begun" / card["sha256"]).write_bytes(b"x" * 100)
    with pytest.raises(lp.ChecksumError, match="has sha256"):
        again(pinned)
    again(pinned)
    (cache / "begun" / card["sha256"]).write_bytes(server.files["/zoo/tiny/model.safetensors"])
    shutil.rmtree(cache / "models")
    again(pinned)  # it was all there


PAGE = b"<!doctype html><title>Please log in</title>"


@pytest.mark.parametrize(
    ("file", "content", "error", "words"),
    [
        ("card.json", PAGE, lp.CheckpointError, "is a web page, no card"),
        ("card.json", b"{}", lp.CheckpointError, "Field required"),
        ("card.json", None, lp.CheckpointError, "the server says 404"),
        ("card.json", b" " * (2**22 + 1), lp.CheckpointError, "more than 4194304 bytes"),
        ("model.safetensors", PAGE, lp.ChecksumError, "is a web page and has sha256"),
        ("model.safetensors", b"other", lp.ChecksumError, "its card says"),
        ("model.safetensors", None, lp.CheckpointError, "the server says 404"),
        ("model.safetensors", b" " * (2**24 + 2**17), lp.CheckpointError, "its card accounts for"),
    ],
)
def test_what_a_server_gives_instead_is_one_line_and_is_not_kept(
    server: Server, unpinned: str, cache: Path, file: str, content: bytes | None, error: type[Exception], words: str
) -> None:
    right = server.files.pop(f"/zoo/tiny/{file}")
    if content is not None:
        server.files[f"/zoo/tiny/{file}"] = content
    with pytest.raises(error, match=words) as refused:
        again(unpinned)
    assert "\n" not in str(refused.value) and server.address in str(refused.value)
    assert not (cache / "models").exists()
    server.files[f"/zoo/tiny/{file}"] = right
    again(unpinned)


def test_a_card_that_is_not_the_pinned_one_is_refused(server: Server, pinned: str) -> None:
    server.files["/zoo/tiny/card.json"] += b"\n"
    with pytest.raises(lp.ChecksumError, match="expected"):
        again(pinned)


@pytest.mark.parametrize("file", ["model.safetensors", "card.json"])
def test_what_was_changed_in_the_cache_is_fetched_again(
    pinned: str, cache: Path, file: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = again(pinned).digest
    (path,) = (cache / "models").glob(f"*/{file}")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"80.5", b"99.5") if file == "card.json" else whole[:-1] + b"\0")
    monkeypatch.setenv("LIP_PLUGIN_OFFLINE", "1")
    with pytest.raises(lp.ConfigError, match="this is offline"):
        again(pinned)
    monkeypatch.delenv("LIP_PLUGIN_OFFLINE")
    assert again(pinned).digest == digest and path.read_bytes() == whole
    assert [asked.rpartition("/")[2] for asked, _ in server.asked] == ["card.json", "model.safetensors"] * 2


def test_processes_that_want_the_same_model_at_once_fetch_it_once(server: Server, pinned: str, cache: Path) -> None:
    server.pause = 1.0
    command = [sys.executable, "-m", "lip_plugin", "info", pinned]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert ends == [(b"", 0)] * 3
    assert [path for path, _ in server.asked].count("/zoo/tiny/model.safetensors") == 1
    assert not list((cache / "begun").iterdir())


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000, "cut off"),
        (b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", "its card says"),
    ],
)
def test_an_answer_that_is_no_http_is_one_line(server: Server, pinned: str, head: bytes, words: str) -> None:
    server.raw = b"HTTP/1.1 200 OK\r\n" + head
    with pytest.raises(lp.LipPluginError, match=rf"model\.safetensors.*{words}"):
        again(pinned)


def test_nothing_leads_away_from_encryption(server: Server, pinned: str) -> None:
    with pytest.raises(lp.ConfigError, match="not encrypted; use https"):
        again(f"{server.address}/zoo/tiny")
    handler, request = web._SameScheme(), web.urllib.request.Request("https://example.org/card.json")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(web.urllib.error.URLError, match="not encrypted"):
        handler.redirect_request(request, None, 302, "", {}, "http://example.org/card.json")
    server.redirect = f"{server.address}/elsewhere"
    with pytest.raises(lp.CheckpointError, match="cannot be fetched"):
        again(pinned)


def test_no_room_is_one_line(pinned: str, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(lp.ConfigError, match="make room or set LIP_PLUGIN_CACHE"):
        again(pinned)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("https://", "no address of a model"),
        ("https://host/x#sha256=12", "no address of a model"),
        ("https://me:word@host/x", "no address of a model"),
        ("s3://bucket/model", "no weight store 's3'; known: hf, http, https"),
        ("hf:", "no place of a model"),
        ("hf:name", "expected hf:owner/name"),
        ("hf:a/b/c", "expected hf:owner/name"),
        ("hf:../x", "expected hf:owner/name"),
        ("hf:a/b@x/../../y", "expected hf:owner/name"),
    ],
)
def test_what_is_no_place_is_refused(reference: str, words: str) -> None:
    with pytest.raises(lp.ConfigError, match=words):
        lp.load_model(reference)


@pytest.mark.parametrize("name", ["LipPlugin2026_LiResNet_Demo", "a:b", "C:/models/x", "x/y", "./hf:x"])
def test_other_names_are_no_references(name: str) -> None:
    assert not store.is_reference(name)


def test_what_an_address_asks_with_is_not_shown() -> None:
    assert store.shown_reference("https://h/x?token=secret#sha256=1") == "https://h/x#sha256=1"
    assert store.shown_reference("hf:a/b") == "hf:a/b" and store.shown_reference("x") is None


def test_no_error_and_no_note_shows_a_password(server: Server, unpinned: str, cache: Path) -> None:
    asking = f"{unpinned.rstrip('/')}?token=secret"
    server.files |= {f"{path}?token=secret": content for path, content in server.files.items()}
    again(asking)
    assert all(b"secret" not in path.read_bytes() for path in (cache / "seen").iterdir())
    del server.files["/zoo/tiny/card.json?token=secret"]
    for reference in (asking, "https://me:secret@host/x", "https://host/a b?secret", f"{asking}#sha256=1"):
        with pytest.raises(lp.LipPluginError) as refused:
            again(reference)
        assert "secret" not in str(refused.value)


# --- the hub ---


@pytest.fixture
def hub() -> Iterator[Hub]:
    told = Hub()
    with running(told):
        yield told


@pytest.fixture
def lip_with(hub: Hub, tmp_path: Path) -> Callable[..., Any]:
    """lip(*words, **variables) in a process of its own: the hub's library reads its variables when imported."""

    def call(*words: object, **variables: str) -> Any:
        told = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": "letmein",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "lip_plugin", *map(str, words)]
        return subprocess.run(
            command, env={**os.environ, **told, **variables}, capture_output=True, text=True, check=False
        )

    return call


def one_line(outcome: Any, *words: str) -> None:
    assert (outcome.returncode, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1), outcome
    assert all(word in outcome.stderr for word in words), outcome.stderr


def test_a_model_is_pushed_and_loaded_by_name(
    hub: Hub, lip_with: Callable[..., Any], model_dir: Path, tmp_path: Path
) -> None:
    pushed = lip_with("push", model_dir, "hf:me/tiny")
    assert (pushed.returncode, pushed.stderr) == (0, ""), pushed
    assert pushed.stdout == f"{model_dir} is at {hub.address}/me/tiny/commit/{hub.commit('me/tiny', 'main')[0]}\n"  # type: ignore[index]
    (files,) = hub.repositories["me/tiny"]
    assert set(files) == {"card.json", "model.safetensors", "README.md", ".eval_results/lip-plugin.yaml"}
    certified = lip_with("certify", "hf:me/tiny", "--n", "5", "--eps", "0.01", "--json")
    assert certified.returncode == 0 and certified.stderr == "", certified
    report = json.loads(certified.stdout)
    assert report["model"]["digest"] == lp.load_model(model_dir).digest
    assert report["request"]["command"].startswith("lip certify hf:me/tiny --n 5")
    asked = len(hub.requests)
    offline = lip_with("info", "hf:me/tiny", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and "tiny" in offline.stdout and len(hub.requests) == asked
    assert any(path.is_symlink() for path in (tmp_path / "hf").rglob("model.safetensors"))  # what was read is a link


def test_a_readme_and_results_are_what_the_hub_reads(lip_with: Callable[..., Any], hub: Hub, model_dir: Path) -> None:
    from huggingface_hub import ModelCard, parse_eval_result_entries

    assert lip_with("push", model_dir, "hf:me/tiny").returncode == 0
    (files,) = hub.repositories["me/tiny"]
    card: Any = ModelCard(files["README.md"].decode())
    assert (card.data.library_name, card.data.license, card.data.pipeline_tag) == (
        "lip-plugin",
        "mit",
        "image-classification",
    )
    assert card.data.datasets == ["zalando-datasets/fashion_mnist"]
    assert "| right and proved (VRA) at 36/255 | 70.25 |" in card.text and 'lp.load_model("hf:me/tiny")' in card.text
    entries = parse_eval_result_entries(yaml.safe_load(files[".eval_results/lip-plugin.yaml"]))
    assert [(one.dataset_id, one.task_id, one.value) for one in entries] == [
        ("zalando-datasets/fashion_mnist", "clean_accuracy", 80.5),
        ("zalando-datasets/fashion_mnist", "verified_robust_accuracy_l2_36_over_255", 70.25),
    ]


def test_what_the_hub_refuses_is_one_line(hub: Hub, lip_with: Callable[..., Any], model_dir: Path) -> None:
    one_line(lip_with("info", "hf:me/none"), "no such repository")
    one_line(lip_with("info", "hf:me/none", HF_ENDPOINT="http://127.0.0.1:9"), "cannot be")
    one_line(lip_with("push", model_dir, "hf:me/tiny", HF_TOKEN="wrong"), "hf auth login")
    one_line(lip_with("push", model_dir, "https://example.org/x"), "push to hf:owner/name")
    one_line(lip_with("push", model_dir.parent, "hf:me/tiny"), "is not a model directory")
    assert not hub.repositories
    assert lip_with("push", model_dir, "hf:me/tiny").returncode == 0
    one_line(lip_with("info", "hf:me/tiny@v9"), "no such revision")
    hub.repositories["me/tiny"].append({**hub.repositories["me/tiny"][0], "model.safetensors": b"tampered"})
    one_line(lip_with("info", "hf:me/tiny"), "has sha256", "its card says")
    first = hub.repositories["me/tiny"][0]
    hub.repositories["me/tiny"].append({name: first[name] for name in ("README.md", "model.safetensors")})
    one_line(lip_with("info", "hf:me/tiny"), "holds no model", "card.json")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(lp.MissingDependencyError, match=r"lip-plugin\[hub\]"):
        lp.load_model("hf:a/b")
