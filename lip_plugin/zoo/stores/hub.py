"""``hf:owner/name[@revision]``: a repository of the Hugging Face hub, or of any server that speaks as it does."""

from __future__ import annotations

import importlib
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.extras import extra
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE
from lip_plugin.untrusted import printable
from lip_plugin.version import __version__
from lip_plugin.zoo.card import ModelCard
from lip_plugin.zoo.stores.model_card import RESULTS_FILE, readme, results
from lip_plugin.zoo.stores.store import Store, is_offline, kept

_PLACE = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@((?!.*\.\.)[\w][\w./-]{0,200}))?")

_LOG_IN = "hf auth login, or the variable HF_TOKEN, says who you are"


class HubStore(Store):
    """Through ``huggingface_hub``: its own cache (links and all), tokens, endpoint and offline mode stay what they are.

    Of a repository card and weights alone are read; they are copied, and hashed, once for each content.
    """

    def fetch(self, place: str) -> Path:
        repository, revision = _parsed(place)
        hub, source = _hub(), f"hf:{place}"
        with _refusals(source, hub):
            folder = hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=[CARD_FILE, WEIGHTS_FILE],
                local_files_only=is_offline(),
                library_name="lip-plugin",
                library_version=__version__,
            )
        return kept(Path(folder) / CARD_FILE, Path(folder) / WEIGHTS_FILE, source)

    def push(self, directory: Path, card: ModelCard, place: str) -> str:
        """One commit of card, weights, README.md and the measured figures; the repository is made where there is none.

        A private one stays private. Raises ConfigError, CheckpointError.
        """
        repository, revision = _parsed(place)
        hub = _hub()
        files: dict[str, Path | bytes] = {
            CARD_FILE: directory / CARD_FILE,
            WEIGHTS_FILE: directory / WEIGHTS_FILE,
            "README.md": readme(card, repository).encode(),
        }
        if figures := results(card):
            files[RESULTS_FILE] = figures.encode()
        with _refusals(f"hf:{place}", hub):
            api = hub.HfApi(library_name="lip-plugin", library_version=__version__)
            api.create_repo(repository, exist_ok=True)
            operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
            message = f"Add {card.name} with lip-plugin {__version__}"
            commit: Any = api.create_commit(repository, operations, commit_message=message, revision=revision)
        return str(commit.commit_url)


def _parsed(place: str) -> tuple[str, str | None]:
    """Repository and revision. Raises ConfigError."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ConfigError(
            f"'hf:{printable(place, longest=80)}' is no place on the hub; expected hf:owner/name[@revision]"
        )
    return match[1], match[2]


def _hub() -> ModuleType:
    with extra("hub", ("huggingface_hub",)):
        for part in ("errors", "utils"):
            importlib.import_module(f"huggingface_hub.{part}")
        return importlib.import_module("huggingface_hub")


@contextmanager
def _refusals(source: str, hub: Any) -> Generator[None]:
    """One line of whatever the hub, the network or the disk says, without bars of progress."""
    bars, errors = hub.utils, hub.errors
    shown = not bars.are_progress_bars_disabled()
    bars.disable_progress_bars()
    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{source} is not in the hub's cache and cannot be fetched: offline, or the hub cannot be reached"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{source}: no such repository, or it is private or gated and nobody is logged in; {_LOG_IN}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{source}: the repository has no such revision") from error
    except (errors.HfHubHTTPError, errors.HFValidationError, ValueError) as error:
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise ConfigError(
                f"{source}: the hub lets you do that only where it knows who you are; {_LOG_IN}"
            ) from error
        raise CheckpointError(f"{source}: {_first_line(error)}") from error
    except getattr(errors, "HTTPError", OSError) as error:  # of the network, and before version 1 an OSError
        raise CheckpointError(f"{source} cannot be reached: {_first_line(error)}") from error
    except OSError as error:
        if error.filename is not None:
            raise ConfigError(f"{source}: {error.strerror}: {error.filename}; see HF_HOME") from error
        raise CheckpointError(f"{source} cannot be reached: {_first_line(error)}") from error
    finally:
        if shown:
            bars.enable_progress_bars()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0] if lines else type(error).__name__, longest=200)
