"""Published checkpoints as certified classifiers."""

from lip_plugin.published.convert import from_published as from_published
