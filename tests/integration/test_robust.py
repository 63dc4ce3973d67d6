"""What goes wrong ends in an error that says what, and how to put it right.

Every row of the tables makes one wrong call. The message must name the argument, the value, what is
allowed and the fix; the words listed are those. Damaged files and the command line are in
`test_robust_files.py`, runs that are killed in `test_robust_runs.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flowatlas import (
    SO3,
    AffinePath,
    Dopri5,
    Euclidean,
    Euler,
    Exact,
    FlowMatching,
    GeodesicPath,
    GivenGrid,
    Independent,
    LinearVP,
    MinibatchOT,
    ProductManifold,
    ProductPath,
    Sphere,
    Uniform,
    encode,
    integrate,
    interpolate,
    log_prob,
    sample,
)
from flowatlas.benchmarks import run as run_benchmark
from flowatlas.data import load
from flowatlas.errors import (
    CapabilityError,
    ConfigError,
    FlowAtlasError,
    GeometryError,
    IntervalError,
    ShapeError,
    SolverError,
)
from flowatlas.networks import MLP, Classes, ProductMLP
from flowatlas.training import FlowModule, TensorData, fit

B = 8  # samples
SOLVER = Euler(steps=2)
SPHERE = Sphere()
ON_SPHERE = GeodesicPath(SPHERE, source=Uniform(SPHERE))
FLAT = AffinePath()
POSE = ProductPath(rotation=GeodesicPath(SO3()), translation=AffinePath())


def draws(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


PLANE = draws(B, 2)
X = SPHERE.projx(draws(B, 3))
POSES = {"rotation": SO3().projx(torch.eye(3) + 0.1 * draws(B, 3, 3)), "translation": draws(B, 3)}
SEVEN = torch.ones(7, dtype=torch.bool)
NAN = X.clone().index_fill_(0, torch.tensor([3]), torch.nan)
INF = PLANE.clone().index_fill_(0, torch.tensor([2, 5]), torch.inf)
OFF = 1.1 * X


@cache
def plane_net() -> MLP:
    return MLP((2,), width=8, depth=1, condition={"label": Classes(3)})


@cache
def sphere_net() -> MLP:
    return MLP((3,), manifold=SPHERE, width=8, depth=1)


@cache
def pose_net() -> ProductMLP:
    shapes = {"rotation": (3, 3), "translation": (3,)}
    return ProductMLP(shapes, manifolds={"rotation": SO3()}, width=8, depth=1)


def flat_loss(x_1: Any = PLANE, **rest: Any) -> Any:
    return FlowMatching(FLAT)(plane_net(), x_1, **rest)


def sphere_loss(x_1: Any = X, **rest: Any) -> Any:
    return FlowMatching(ON_SPHERE)(sphere_net(), x_1, **rest)


def pose_loss(x_1: Any, **rest: Any) -> Any:
    return FlowMatching(POSE, **rest)(pose_net(), x_1)


def plane_samples(path: Any = FLAT, field: Any = None, **rest: Any) -> Any:
    field = plane_net() if field is None else field
    return sample(field, path, **{"shape": (B, 2), "solver": SOLVER, **rest})


#: What is done wrong, the exception, and what the message must say.
Case = tuple[str, Callable[[], Any], type[FlowAtlasError], list[str]]

SHAPES: list[Case] = [
    (
        "event shape, for the network",
        lambda: flat_loss(draws(B, 3)),
        ShapeError,
        ["x:", "(8, 3)", "(batch, 2)", "event_shape=(3,)"],
    ),
    (
        "event shape, for the manifold",
        lambda: FlowMatching(GeodesicPath(SO3()))(plane_net(), draws(B, 3)),
        ShapeError,
        ["x_1:", "(8, 3)", "(..., 3, 3)", "Quaternions and rotation vectors need converting"],
    ),
    (
        "latitude alone",
        lambda: sphere_loss(draws(B, 1)),
        ShapeError,
        ["x_1:", "(8, 1)", "d >= 2", "converting to 3 coordinates"],
    ),
    (
        "no event axis",
        lambda: flat_loss(draws(B)),
        ShapeError,
        ["x_1:", "(8,)", "at least 1 axes", "x_1.unsqueeze(-1)"],
    ),
    (
        "an array",
        lambda: flat_loss(np.zeros((B, 2))),
        ShapeError,
        ["x_1:", "ndarray", "(batch, *event)", "torch.as_tensor"],
    ),
    (
        "integers",
        lambda: flat_loss(torch.ones(B, 2, dtype=torch.int64)),
        ShapeError,
        ["x_1:", "int64", "floating-point", "x_1.float()"],
    ),
    (
        "a tensor for a product",
        lambda: pose_loss(X),
        ShapeError,
        ["x_1:", "Tensor", "a mapping with the names ['rotation', 'translation']"],
    ),
    (
        "a mapping for a lone path",
        lambda: flat_loss(POSES),
        ShapeError,
        ["x_1:", "dict", "(batch, *event)", "ProductPath"],
    ),
    (
        "a missing component",
        lambda: log_prob(pose_net(), POSE, {"rotation": POSES["rotation"]}, solver=SOLVER),
        ShapeError,
        ["x_1:", "['rotation']", "['rotation', 'translation']"],
    ),
    (
        "the shape of samples",
        lambda: sample(pose_net(), POSE, shape=(B, 3), solver=SOLVER),
        ShapeError,
        ["shape:", "['rotation', 'translation']", "a mapping of tuples"],
    ),
    (
        "what the model returns",
        lambda: FlowMatching(FLAT)(lambda x, t: x[:, :1], PLANE),
        ShapeError,
        ["prediction:", "(8, 1)", "(8, 2)"],
    ),
    (
        "what the model returns, sampling",
        lambda: sample(lambda x, t: x[:, :1], FLAT, shape=(B, 2), solver=SOLVER),
        ShapeError,
        ["prediction:", "(8, 1)", "(8, 2)"],
    ),
    (
        "batch of x_0",
        lambda: flat_loss(x_0=PLANE[:7]),
        ShapeError,
        ["x_0:", "(7, 2)", "(8, 2)", "path.draw(x_1)"],
    ),
    (
        "batch of t",
        lambda: flat_loss(t=torch.rand(7)),
        ShapeError,
        ["t:", "(7,)", "(8,)", "torch.full"],
    ),
    (
        "one t for all",
        lambda: flat_loss(t=torch.tensor(0.5)),
        ShapeError,
        ["t:", "()", "(8,)", "torch.full"],
    ),
    (
        "batch of a condition",
        lambda: flat_loss(condition={"label": torch.zeros(7, dtype=torch.int64)}),
        ShapeError,
        ["condition['label']", "(7,)", "batch of 8", "Expand"],
    ),
    (
        "batch of a mask",
        lambda: plane_samples(mask=SEVEN),
        ShapeError,
        ["mask", "(7,)", "(8,)", "one entry per point"],
    ),
    (
        "batch of fixed points",
        lambda: plane_samples(fixed=(SEVEN, PLANE[:7])),
        ShapeError,
        ["fixed", "(7, 2)", "(8, 2)"],
    ),
    (
        "batch of weights",
        lambda: flat_loss(weight=torch.ones(7)),
        ShapeError,
        ["weight:", "(7,)", "(8,)", "one factor per sample"],
    ),
    (
        "batch of components",
        lambda: pose_loss({**POSES, "translation": draws(7, 3)}),
        ShapeError,
        ["x_1:", "'rotation': (8, 3, 3)", "'translation': (7, 3)", "must share"],
    ),
    (
        "generators",
        lambda: plane_samples(generator=[torch.Generator()] * 7),
        ShapeError,
        ["generator:", "7 generators", "batch of 8", "exactly one per sample"],
    ),
    (
        "a batch size for a shape",
        lambda: sample(plane_net(), FLAT, shape=B, solver=SOLVER),  # type: ignore[arg-type]
        ShapeError,
        ["shape:", "got 8", "a tuple of sizes with the batch first", "(8, 3)"],
    ),
    (
        "a batch size for the shape of a component",
        lambda: sample(
            pose_net(),
            POSE,
            shape={"rotation": (B, 3, 3), "translation": B},  # type: ignore[dict-item]
            solver=SOLVER,
        ),
        ShapeError,
        ["shape['translation']:", "got 8", "a tuple of sizes with the batch first"],
    ),
    (
        "a number for t",
        lambda: flat_loss(t=0.5),
        ShapeError,
        ["t:", "float", "(batch,)", "torch.full"],
    ),
    (
        "a number for weights",
        lambda: flat_loss(weight=2.0),
        ShapeError,
        ["weight:", "float", "(batch,)", "torch.as_tensor"],
    ),
    (
        "a list to start from",
        lambda: plane_samples(shape=None, x_init=[[0.0, 1.0]]),
        ShapeError,
        ["x_init:", "list", "(batch, *event)", "torch.as_tensor"],
    ),
    (
        "a list to follow",
        lambda: integrate(plane_net(), FLAT, [[0.0, 1.0]], solver=SOLVER),  # type: ignore[arg-type]
        ShapeError,
        ["x:", "list", "(batch, *event)", "torch.as_tensor"],
    ),
    (
        "an array to score",
        lambda: log_prob(plane_net(), FLAT, np.zeros((B, 2)), solver=SOLVER),  # type: ignore[arg-type]
        ShapeError,
        ["x_1:", "ndarray", "(batch, *event)", "torch.as_tensor"],
    ),
    (
        "a number to interpolate to",
        lambda: interpolate(plane_net(), FLAT, PLANE, 1.0, steps=3, solver=SOLVER),  # type: ignore[arg-type]
        ShapeError,
        ["y:", "float", "(batch, *event)"],
    ),
    (
        "a condition without a name",
        lambda: plane_samples(condition=torch.zeros(B)),
        ShapeError,
        ["condition:", "Tensor", "mapping from names to tensors", "condition={'label': y}"],
    ),
    (
        "a condition that is a number",
        lambda: flat_loss(condition={"label": 3}),
        ShapeError,
        ["condition['label']:", "int", "one row per sample", "torch.full((batch,), value)"],
    ),
    (
        "a mask that is a list",
        lambda: plane_samples(mask=[True] * B),
        ShapeError,
        ["mask:", "list", "bool tensor"],
    ),
    (
        "fixed points without values",
        lambda: plane_samples(fixed=(SEVEN,)),
        ShapeError,
        ["fixed['x']:", "tuple", "a pair (mask, value)"],
    ),
    (
        "a model that returns a tuple",
        lambda: FlowMatching(FLAT)(lambda x, t: (x, t), PLANE),
        ShapeError,
        ["prediction:", "tuple", "a tensor (batch, *event)", "a function that picks its output"],
    ),
    (
        "a batch of none",
        lambda: flat_loss(PLANE[:0]),
        ShapeError,
        ["x_1:", "batch of 0 samples", "one sample or more", "Skip empty batches"],
    ),
    (
        "a batch of none, of a product",
        lambda: pose_loss({name: x[:0] for name, x in POSES.items()}),
        ShapeError,
        ["x_1:", "batch of 0 samples", "one sample or more", "Skip empty batches"],
    ),
    (
        "lengths of data",
        lambda: TensorData({"x_1": PLANE, "weight": torch.ones(7)}),
        ShapeError,
        ["train", "8", "7", "same length"],
    ),
]

VALUES: list[Case] = [
    (
        "NaN in the loss",
        lambda: sphere_loss(NAN, validate=True),
        GeometryError,
        ["x_1:", "1 of 8", "NaN or infinity", "remove or impute"],
    ),
    (
        "infinity in the loss",
        lambda: flat_loss(INF, validate=True),
        GeometryError,
        ["x_1:", "2 of 8", "NaN or infinity", "remove or impute"],
    ),
    (
        "NaN in training data",
        lambda: TensorData(INF),
        GeometryError,
        ["train['x_1']", "2 of 8", "NaN or infinity", "remove or impute"],
    ),
    (
        "NaN in a likelihood",
        lambda: log_prob(sphere_net(), ON_SPHERE, NAN, solver=SOLVER),
        GeometryError,
        ["x_1:", "1 of 8", "NaN or infinity", "remove or impute"],
    ),
    (
        "NaN to encode",
        lambda: encode(sphere_net(), ON_SPHERE, NAN, solver=SOLVER),
        GeometryError,
        ["1 of 8", "NaN or infinity", "remove or impute"],
    ),
    (
        "NaN in one component",
        lambda: log_prob(
            pose_net(), POSE, {**POSES, "translation": torch.nan * draws(B, 3)}, solver=SOLVER
        ),
        GeometryError,
        ["x_1['translation']", "8 of 8", "NaN or infinity", "remove or impute"],
    ),
    (
        "NaN to couple",
        lambda: FlowMatching(FLAT, coupling=MinibatchOT(Euclidean()))(plane_net(), INF),
        GeometryError,
        ["x_0, x_1:", "NaN or infinite", "[2, 5]", "check_point"],
    ),
    (
        "a network that returns NaN",
        lambda: sample(lambda x, t: torch.nan * x, FLAT, shape=(B, 2), solver=Dopri5()),
        FlowAtlasError,
        ["t = 0", "NaN", "check the model's weights"],
    ),
    (
        "a network that returns NaN, by fixed steps",
        lambda: plane_samples(path=FLAT, field=lambda x, t: torch.nan * x),
        SolverError,
        ["solver:", "Euler(", "t = 0 and t = 1", "lower learning rate", "more steps"],
    ),
    (
        "a network that returns infinity, in a likelihood",
        lambda: log_prob(lambda x, t: x / 0.0, FLAT, PLANE, solver=SOLVER),
        SolverError,
        ["solver:", "Euler(", "t = 1 and t = 0", "lower learning rate", "more steps"],
    ),
    (
        "off the sphere, in the loss",
        lambda: sphere_loss(OFF, validate=True),
        GeometryError,
        ["x_1:", "Sphere()", "residual 9.09e-02", "1e-04 allowed", "projx"],
    ),
    (
        "off the sphere, to train on",
        lambda: fit(
            FlowModule(sphere_net(), FlowMatching(ON_SPHERE)),
            TensorData(OFF),
            steps=1,
            output_dir="never",
        ),
        GeometryError,
        ["train:", "Sphere()", "residual 9.09e-02", "1e-04 allowed", "projx"],
    ),
    (
        "off the sphere, to start from",
        lambda: sample(sphere_net(), ON_SPHERE, x_init=OFF, solver=SOLVER),
        GeometryError,
        ["x_init:", "Sphere()", "residual 9.09e-02", "1e-04 allowed", "projx"],
    ),
    (
        "off the sphere, to follow",
        lambda: integrate(sphere_net(), ON_SPHERE, OFF, solver=SOLVER),
        GeometryError,
        ["x:", "Sphere()", "residual 9.09e-02", "1e-04 allowed", "projx"],
    ),
    (
        "off the sphere, to interpolate",
        lambda: interpolate(sphere_net(), ON_SPHERE, OFF, X, steps=3, solver=SOLVER),
        GeometryError,
        ["Sphere()", "residual 9.09e-02", "1e-04 allowed", "projx"],
    ),
    (
        "no rotations, to score",
        lambda: log_prob(
            pose_net(), POSE, {**POSES, "rotation": 1.01 * POSES["rotation"]}, solver=SOLVER
        ),
        GeometryError,
        ["x_1['rotation']", "SO3()", "residual 9.", "1e-04 allowed", "projx"],
    ),
]

TIMES: list[Case] = [
    (
        "t beyond the data",
        lambda: FLAT.sample(PLANE, PLANE, torch.full((B,), 1.5)),
        IntervalError,
        ["t:", "1.5", "[0, 1]", "clamp"],
    ),
    (
        "t before the source",
        lambda: flat_loss(t=torch.full((B,), -0.1)),
        IntervalError,
        ["t:", "-0.1", "[0, 1]", "clamp"],
    ),
    (
        "t that is NaN",
        lambda: flat_loss(t=torch.full((B,), torch.nan)),
        IntervalError,
        ["t:", "nan", "[0, 1]"],
    ),
    (
        "t where the schedule diverges",
        lambda: AffinePath(scheduler=LinearVP()).sample(PLANE, PLANE, torch.ones(B)),
        IntervalError,
        ["t:", "[1, 1]", "[0, 0.99", "clamp"],
    ),
    (
        "t where the conversion diverges",
        lambda: AffinePath(prediction="target").velocity(PLANE, torch.ones(B), PLANE),
        IntervalError,
        ["t:", "velocity from target prediction", "[0, 0.999]", "clamp"],
    ),
    (
        "a density where there is none",
        lambda: log_prob(plane_net(), AffinePath(prediction="target"), PLANE, solver=SOLVER),
        IntervalError,
        ["start:", "0.999", "start=0.999", "velocity prediction"],
    ),
    (
        "an end beyond the data",
        lambda: integrate(plane_net(), FLAT, PLANE, end=1.5, solver=SOLVER),
        IntervalError,
        ["end:", "1.5", "from 0", "to 1"],
    ),
    (
        "a start before the source",
        lambda: integrate(plane_net(), FLAT, PLANE, start=-0.5, solver=SOLVER),
        IntervalError,
        ["start:", "-0.5", "from 0", "to 1"],
    ),
    (
        "step numbers for times",
        lambda: plane_samples(solver=Euler(grid=GivenGrid([0, 5, 10]))),
        IntervalError,
        ["times:", "10", "from 0", "Divide step numbers"],
    ),
]

SETTINGS: list[Case] = [
    (
        "a coupling that measures tensors",
        lambda: pose_loss(POSES, coupling=MinibatchOT(SPHERE)),
        ShapeError,
        ["x_0:", "mapping", "Sphere()", "Pass MinibatchOT the path"],
    ),
    (
        "a coupling that measures mappings",
        lambda: FlowMatching(FLAT, coupling=MinibatchOT(POSE))(plane_net(), PLANE),
        ShapeError,
        ["x_0:", "tensor", "['rotation', 'translation']", "Pass MinibatchOT the path"],
    ),
    (
        "a coupling without a distance for a component",
        lambda: pose_loss(POSES, coupling=MinibatchOT(ProductManifold(rotation=SO3()))),
        ShapeError,
        ["without a distance: ['translation']", "Pass MinibatchOT the path"],
    ),
    (
        "a coupling that noise prediction forbids",
        lambda: FlowMatching(AffinePath(prediction="noise"), coupling=MinibatchOT(Euclidean())),
        CapabilityError,
        ["coupling:", "MinibatchOT", "'noise'", "Use Independent()"],
    ),
    (
        "field and path swapped",
        lambda: sample(FLAT, plane_net(), shape=(B, 2), solver=SOLVER),  # type: ignore[arg-type]
        ConfigError,
        ["path:", "MLP", "AffinePath()"],
    ),
    (
        "the class of a solver",
        lambda: plane_samples(solver=Euler),
        ConfigError,
        ["solver:", "the class Euler", "Midpoint(steps=50)"],
    ),
    (
        "the class of a coupling",
        lambda: FlowMatching(FLAT, coupling=Independent),  # type: ignore[arg-type]
        ConfigError,
        ["coupling:", "the class Independent", "Independent()"],
    ),
    (
        "one regulariser without a list",
        lambda: FlowMatching(FLAT, regularizers=lambda sample, prediction: PLANE[:, 0]),  # type: ignore[arg-type]
        ConfigError,
        ["regularizers:", "function", "[regularizer]"],
    ),
    (
        "the class of a divergence",
        lambda: log_prob(plane_net(), FLAT, PLANE, solver=SOLVER, divergence=Exact),  # type: ignore[arg-type]
        ConfigError,
        ["divergence:", "the class Exact", "Hutchinson()"],
    ),
    (
        "a number for a source",
        lambda: plane_samples(source=3.0),
        ConfigError,
        ["source:", "float", "Gaussian()"],
    ),
    (
        "a seed for a generator",
        lambda: plane_samples(generator=0),
        ConfigError,
        ["generator:", "int", "torch.Generator().manual_seed(seed)"],
    ),
    (
        "integers to draw",
        lambda: plane_samples(dtype=torch.int64),
        ConfigError,
        ["dtype:", "torch.int64", "floating-point"],
    ),
    (
        "half a step",
        lambda: Euler(steps=2.5),  # type: ignore[arg-type]
        ConfigError,
        ["steps:", "2.5", "an integer of 1 or more"],
    ),
    (
        "steps that are words",
        lambda: Euler(steps="many"),  # type: ignore[arg-type]
        ConfigError,
        ["steps:", "'many'", "an integer of 1 or more"],
    ),
    (
        "half a state",
        lambda: interpolate(sphere_net(), ON_SPHERE, X, X, steps=2.5, solver=SOLVER),  # type: ignore[arg-type]
        ConfigError,
        ["steps:", "2.5", "an integer of 2 or more"],
    ),
    (
        "one time to record",
        lambda: integrate(plane_net(), FLAT, PLANE, times=0.5, solver=SOLVER),  # type: ignore[arg-type]
        ConfigError,
        ["times:", "float", "a sequence of numbers"],
    ),
    (
        "a dropout in per cent",
        lambda: flat_loss(condition_dropout=10),
        ConfigError,
        ["condition_dropout:", "10", "from 0 to 1"],
    ),
    (
        "an unknown benchmark",
        lambda: run_benchmark("toy/two_mons"),
        ConfigError,
        ["'toy/two_mons'", "Did you mean toy/two_moons"],
    ),
    (
        "an unknown setting",
        lambda: run_benchmark("toy/two_moons", preset="demo", settings={"stepz": 3}),
        ConfigError,
        ["set:", "'stepz'", "Did you mean steps", "Allowed: atol"],
    ),
    (
        "a setting of another type",
        lambda: run_benchmark("toy/two_moons", preset="demo", settings={"steps": "many"}),
        ConfigError,
        ["steps:", "'many'", "int"],
    ),
    (
        "an unknown data set",
        lambda: load("demo/citys"),
        ConfigError,
        ["'demo/citys'", "Did you mean demo/cities"],
    ),
    (
        "an unknown prediction kind",
        lambda: AffinePath(prediction="velocty"),
        ConfigError,
        ["prediction:", "'velocty'", "'velocity', 'target', 'noise', 'score'"],
    ),
    (
        "an unknown key of a batch",
        lambda: TensorData({"x_1": PLANE, "labels": PLANE}),
        ConfigError,
        ["train:", "'labels'", "'condition'", "x_1"],
    ),
    (
        "an unknown condition",
        lambda: flat_loss(condition={"labels": torch.zeros(B)}),
        ConfigError,
        ["condition:", "['labels']", "['label']"],
    ),
    (
        "an unknown argument of a network",
        lambda: MLP.from_config({"event_shape": [2], "widht": 3}),
        ConfigError,
        ["config:", "['widht']", "'width'", "Correct the names"],
    ),
]

CASES = [*SHAPES, *VALUES, *TIMES, *SETTINGS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_wrong_input_is_an_error_that_names_the_fix(case: Case) -> None:
    _, act, kind, words = case
    with pytest.raises(kind) as caught:
        act()
    check_message(str(caught.value), words)


def check_message(message: str, words: list[str]) -> None:
    """All the words are there, and the message is a sentence of a readable length."""
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
    assert 20 < len(message) < 700
    assert re.fullmatch(r"[^\n]+[.?]", message), message


def test_the_same_calls_with_right_input_work() -> None:
    """The tables would prove nothing if these calls always failed."""
    for loss in (flat_loss(validate=True), sphere_loss(validate=True), pose_loss(POSES)):
        assert torch.isfinite(loss.loss)
    pose_loss(POSES, coupling=MinibatchOT(POSE))
    flat_loss(
        x_0=PLANE,
        t=torch.rand(B),
        weight=torch.ones(B),
        condition={"label": torch.zeros(B, dtype=torch.int64)},
        mask=torch.ones(B, dtype=torch.bool),
    )
    assert plane_samples(mask=torch.ones(B, dtype=torch.bool)).shape == (B, 2)
    for net, path, x in ((sphere_net(), ON_SPHERE, X), (pose_net(), POSE, POSES)):
        assert log_prob(net, path, x, solver=SOLVER).isfinite().all()
    assert len(interpolate(sphere_net(), ON_SPHERE, X, X, steps=3, solver=SOLVER)) == 3
