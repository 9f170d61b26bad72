"""RobustBench: our models in its zoo, and its published package made importable. `register` is what imports it."""

from __future__ import annotations

from lip_adapters.robustbench_adapter.registration import register as register
