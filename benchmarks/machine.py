"""What the numbers depend on: processor, versions, and settings of the process."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["describe", "prepare"]

PACKAGES = (
    "flowatlas",
    "torch",
    "numpy",
    "scipy",
    "POT",
    "flow_matching",
    "torchcfm",
    "torchdiffeq",
    "torchdyn",
    "geoopt",
)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def prepare() -> None:
    """One thread, and memory that stays with the process.

    glibc gives large blocks back to the kernel as soon as they are free, or does not, depending on
    what the process allocated before. Fetching fresh pages again for each temporary then takes many
    times as long as the arithmetic, of whoever is unlucky. Here all contenders reuse their memory.
    """
    torch.set_num_threads(1)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def describe() -> dict[str, str]:
    """Names and values that go with the numbers."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, 1 thread used",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields: dict[str, str] = {}
        for line in info.read_text().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
        if "model name" in fields:
            model = f"family {fields.get('cpu family')} model {fields.get('model')}"
            return f"{fields['model name']} ({model})"
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
