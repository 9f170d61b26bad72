"""What other packages add: entry-point groups, read when asked. No torch.

Every kind of extension (architecture, operator, data set, attack ...) is one group of this kind, so that a
third party's package adds a member by one line of its ``pyproject.toml``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lip_plugin.errors import ConfigError, MissingDependencyError, close_matches
from lip_plugin.untrusted import printable


class PluginGroup:
    """The members of one entry-point group by name.

    ``noun`` names a member in messages, for example "attack library". Nothing is imported before `load`.

        ATTACKS = PluginGroup("lip_plugin.attacks", "attack library")
        ATTACKS.names()             # ['autoattack', 'foolbox', 'torchattacks']
        ATTACKS.load("autoattack")  # the object that the entry point names
    """

    def __init__(self, group: str, noun: str) -> None:
        self.group = group
        self.noun = noun

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({entry.name for entry in self.entries()})

    def entries(self) -> list[EntryPoint]:
        """In the order of the names."""
        return sorted(entry_points(group=self.group), key=lambda entry: (entry.name, entry.value))

    def load(self, name: str) -> object:
        """The object behind a name; imports its package.

        Raises ConfigError for an unknown name, and for one that several packages give to different things;
        MissingDependencyError where the entry point names what cannot be imported.
        """
        found = {entry.value: entry for entry in self.entries() if entry.name == name}
        if not found:
            known = self.names()
            shown = printable(str(name), longest=80)
            listed = ", ".join(known) or "none is installed"
            raise ConfigError(f"no {self.noun} {shown!r}; known: {listed}.{close_matches(name, known)}")
        if len(found) > 1:
            raise ConfigError(f"the {self.noun} {name!r} is claimed by {' and '.join(found)}; uninstall one of them")
        (entry,) = found.values()
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise MissingDependencyError(
                f"the {self.noun} {name!r} ({entry.value}) cannot be imported: {error}; install its package again"
            ) from error


def read_settings(query: str, what: str) -> dict[str, Any]:
    """``steps=50&norm=2``, as behind ``torchattacks:PGDL2?``: Python literals where they parse as such, else strings.

    ``what`` begins the message. Raises ConfigError.
    """
    settings: dict[str, Any] = {}
    for item in filter(None, query.split("&")):
        key, separator, value = item.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigError(f"{what}: {item!r} is not of the form key=value")
        settings[key] = _literal(value)
    return settings


def written_settings(settings: Mapping[str, Any]) -> str:
    """As `read_settings` reads them, with the question mark, sorted; empty without any."""
    return f"?{'&'.join(f'{key}={value}' for key, value in sorted(settings.items()))}" if settings else ""


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
