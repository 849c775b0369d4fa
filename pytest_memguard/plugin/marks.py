"""The markers under their own names: ``from pytest_memguard import no_leak``."""

from __future__ import annotations

import pytest

__all__ = ["limit_memory", "memguard_skip", "no_cycles", "no_leak"]

no_leak = pytest.mark.no_leak
memguard_skip = pytest.mark.memguard_skip
limit_memory = pytest.mark.limit_memory
no_cycles = pytest.mark.no_cycles
