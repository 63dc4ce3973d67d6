"""What all tests share: one thread, patient hypothesis, and the directory with data files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# Workers of pytest-xdist share the cores, and sums do not depend on how many threads there are.
torch.set_num_threads(1)

# How long an example takes says nothing on a shared machine; the same examples are drawn each time.
settings.register_profile(
    "flowatlas", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("flowatlas")


@pytest.fixture
def data_root() -> Path:
    """What FLOWATLAS_DATA names; tests that need it are skipped without."""
    named = os.environ.get("FLOWATLAS_DATA")
    if not named:
        pytest.skip("FLOWATLAS_DATA is not set; it names the directory with data files")
    root = Path(named)
    if not root.is_dir():
        pytest.skip(f"FLOWATLAS_DATA names no directory: {named}")
    return root
