"""The kinds of one's own images that come with the package: one file each, named in ``pyproject.toml``."""
