"""Benchmarks of policies: `robotics/*`."""
