"""Benchmarks: data, methods, presets, metrics and published numbers under one name."""

from flowatlas.benchmarks.comparison import Cell as Cell
from flowatlas.benchmarks.comparison import compare as compare
from flowatlas.benchmarks.contract import Benchmark as Benchmark
from flowatlas.benchmarks.contract import Metric as Metric
from flowatlas.benchmarks.contract import Outcome as Outcome
from flowatlas.benchmarks.contract import Published as Published
from flowatlas.benchmarks.contract import Task as Task
from flowatlas.benchmarks.method import Method as Method
from flowatlas.benchmarks.point_method import METHODS as METHODS
from flowatlas.benchmarks.point_method import PointMethod as PointMethod
from flowatlas.benchmarks.point_preset import PointPreset as PointPreset
from flowatlas.benchmarks.preset import Preset as Preset
from flowatlas.benchmarks.registry import benchmark as benchmark
from flowatlas.benchmarks.registry import benchmark_names as benchmark_names
from flowatlas.benchmarks.registry import matching as matching
from flowatlas.benchmarks.report import Report as Report
from flowatlas.benchmarks.report import report as report
from flowatlas.benchmarks.results import Result as Result
from flowatlas.benchmarks.runner import run as run
from flowatlas.benchmarks.system_benchmark import Fitted as Fitted
from flowatlas.benchmarks.system_benchmark import Judge as Judge
from flowatlas.benchmarks.system_benchmark import SystemBenchmark as SystemBenchmark
from flowatlas.benchmarks.system_benchmark import closeness as closeness
