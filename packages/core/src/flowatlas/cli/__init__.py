"""The command line."""

from flowatlas.cli.main import main as main
