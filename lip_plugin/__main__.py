"""``python -m lip_plugin``: the command ``lip``."""

from lip_plugin.cli import main

if __name__ == "__main__":
    main()
