"""Independent checker: re-proves a model directory's Lipschitz bound and the radii of its first images.

    python tools/recheck.py MODEL_DIR [--data FILE.npz] [--points points.csv] [--report report.json]

NumPy and the standard library only; what it consists of is in the folder `rechecking` beside it. Exit 0: everything
agrees; 1: something disagrees, named with its numbers; 2: bad input, in one line.
"""

from __future__ import annotations

import sys
from pathlib import Path

if str(Path(__file__).parent) not in sys.path:  # as under `python -I`
    sys.path.insert(0, str(Path(__file__).parent))

from rechecking.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
