"""Test suites that third parties subclass; only `torch` is needed to import them."""

from flowatlas.testing.conformance import ManifoldConformance as ManifoldConformance
