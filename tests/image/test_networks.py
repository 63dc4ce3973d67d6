"""Networks of images: shapes, precision, conditions, masks, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, FlowAtlasError, ShapeError
from flowatlas.networks import Classes, Pretrained, Vector
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath
from flowatlas_image.networks import DiT, PatchEmbedding, UNet
from flowatlas_image.networks.dit import _Block as TransformerBlock
from flowatlas_image.networks.patches import from_patches, positions, to_patches
from flowatlas_image.networks.unet import _Attention as PlaceAttention
from flowatlas_image.networks.unet import _Block as ConvolutionBlock

Make = Callable[..., Pretrained]
N = TypeVar("N", bound=nn.Module)


def unet(event: tuple[int, ...] = (2, 8, 12), **arguments: Any) -> UNet:
    return UNet(event, channels=(8, 16), patch=2, context=16, **arguments)


def dit(event: tuple[int, ...] = (2, 8, 12), **arguments: Any) -> DiT:
    return DiT(event, patch=2, width=16, depth=2, heads=2, context=16, **arguments)


NETWORKS = pytest.mark.parametrize("make", [unet, dit])


def awake(network: N, seed: int = 0) -> N:
    """The same with weights that are nowhere zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return network


def inputs(batch: int = 3, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 2, 8, 12, generator=generator, dtype=dtype)
    return x, torch.rand(batch, generator=generator, dtype=dtype)


@NETWORKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_zero_at_first(make: Make, dtype: torch.dtype) -> None:
    x, t = inputs(dtype=dtype)
    network = make(condition={"label": Classes(4)}).to(dtype)
    out = network(x, t, {"label": torch.tensor([0, 1, 3])})
    assert out.shape == x.shape
    assert out.dtype == dtype
    assert not out.any()
    assert awake(network)(x, t).abs().max() > 0


@NETWORKS
def test_samples_do_not_see_each_other(make: Make) -> None:
    x, t = inputs(dtype=torch.float64)
    network = awake(make().double())
    alone = torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(len(x))])
    assert torch.allclose(network(x, t), alone, rtol=0, atol=1e-12)


@NETWORKS
def test_every_pixel_time_and_class_matters(make: Make) -> None:
    x, t = inputs(dtype=torch.float64)
    network = awake(make(condition={"label": Classes(4)}).double())
    label = torch.tensor([0, 1, 3])
    x.requires_grad_()
    t.requires_grad_()
    out = network(x, t, {"label": label})
    out.square().sum().backward()
    assert x.grad is not None and t.grad is not None
    assert (x.grad != 0).all()
    assert (t.grad != 0).all()
    others = network(x, t, {"label": (label + 1) % 4})
    assert ((others - out).flatten(1).abs().amax(1) > 1e-6).all()


@NETWORKS
def test_all_weights_learn(make: Make) -> None:
    x, t = inputs()
    network = awake(make(condition={"label": Classes(4), "shade": Vector(2)}, fixed=True))
    condition = {"label": torch.tensor([0, 1, 4]), "shade": torch.randn(3, 2)}
    condition["shade"][0] = torch.nan
    network(x, t, condition, fixed=x > 0).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


@NETWORKS
def test_null_condition_is_no_condition(make: Make) -> None:
    x, t = inputs(dtype=torch.float64)
    kinds = {"label": Classes(4), "shade": Vector(2)}
    network = awake(make(condition=kinds, images={"coarse": (1, 4, 4)}).double())
    condition = {
        "label": torch.tensor([0, 1, 3]),
        "shade": torch.randn(3, 2, dtype=torch.float64),
        "coarse": torch.randn(3, 1, 4, 4, dtype=torch.float64),
    }
    null = network.null_condition(condition)  # type: ignore[operator]
    assert set(null) == set(condition)
    assert torch.allclose(network(x, t, null), network(x, t), rtol=0, atol=1e-12)
    assert not torch.allclose(network(x, t, condition), network(x, t))


@NETWORKS
def test_image_condition_is_seen_where_it_is(make: Make) -> None:
    x, t = inputs(dtype=torch.float64)
    network = awake(make(images={"coarse": (1, 4, 4)}).double())
    coarse = torch.zeros(3, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    network(x, t, {"coarse": coarse}).square().sum().backward()
    assert coarse.grad is not None and (coarse.grad != 0).all()
    # Known zeros are not the same as nothing known.
    known = network(x, t, {"coarse": coarse.detach()})
    assert not torch.allclose(known, network(x, t))
    partly = coarse.detach().clone()
    partly[1, 0, 2, 2] = torch.nan
    out = network(x, t, {"coarse": partly})
    assert torch.allclose(out[1], network(x, t)[1], rtol=0, atol=1e-12)
    assert torch.allclose(out[[0, 2]], known[[0, 2]], rtol=0, atol=1e-12)


@NETWORKS
def test_condition_dropout_and_fixed_pixels_in_an_objective(make: Make) -> None:
    x, _ = inputs()
    network = awake(make(condition={"label": Classes(4)}, fixed=True))
    objective = FlowMatching(AffinePath(point_ndim=0))
    given = torch.zeros_like(x, dtype=torch.bool)
    given[:, :, :4] = True
    losses = [
        objective(
            network,
            x,
            condition={"label": torch.tensor(label)},
            condition_dropout=1.0,
            fixed=(given, x),
            generator=torch.Generator().manual_seed(0),
        ).loss
        for label in ([0, 1, 2], [3, 3, 3])
    ]
    assert losses[0].isfinite()
    assert torch.equal(losses[0], losses[1])


@NETWORKS
def test_marks_of_given_pixels_are_seen(make: Make) -> None:
    x, t = inputs()
    network = awake(make(fixed=True))
    given = torch.zeros_like(x, dtype=torch.bool)
    assert torch.equal(network(x, t), network(x, t, fixed=given))
    given[0, 0, 0, 0] = True
    assert not torch.allclose(network(x, t)[0], network(x, t, fixed=given)[0])
    with pytest.raises(ConfigError, match="Replacement"):
        make()(x, t, fixed=given)
    with pytest.raises(ShapeError, match="point_ndim=0"):
        network(x, t, fixed=given[:, :1])


@NETWORKS
def test_saved_and_loaded(make: Make, tmp_path: Path) -> None:
    x, t = inputs()
    network = awake(make(condition={"label": Classes(4)}, images={"coarse": (1, 4, 4)}))
    condition = {"label": torch.tensor([0, 1, 3]), "coarse": torch.randn(3, 1, 4, 4)}
    network.save_pretrained(tmp_path)
    again = type(network).from_pretrained(tmp_path)
    assert torch.equal(again(x, t, condition), network(x, t, condition))


@NETWORKS
@pytest.mark.parametrize(
    ("shape", "time", "words"),
    [
        ((3, 2, 8, 8), (3,), "x: got shape"),
        ((2, 8, 12), (2,), "x: got shape"),
        ((3, 2, 8, 12), (3, 1), "t: got shape"),
        ((3, 2, 8, 12), (), "t: got shape"),
    ],
)
def test_inputs_are_checked(
    make: Make, shape: tuple[int, ...], time: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ShapeError, match=words):
        make()(torch.zeros(shape), torch.zeros(time))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: unet((8, 12)), "event_shape: got"),
        (lambda: unet((2, 8, 10)), "divisible by 4"),
        (lambda: dit((2, 7, 8)), "divisible by 2"),
        (lambda: UNet((1, 8, 8), channels=(12,)), "channels: got"),
        (lambda: UNet((1, 8, 8), channels=()), "channels: got"),
        (lambda: UNet((1, 8, 8), blocks=0), "blocks: got 0"),
        (lambda: DiT((1, 8, 8), width=18, heads=2), "width: got 18"),
        (lambda: DiT((1, 8, 8), width=16, heads=3), "heads: got 3"),
        (lambda: DiT((1, 8, 8), depth=0), "depth: got 0"),
        (lambda: unet(images={"coarse": (1, 3, 4)}), "coarse"),
    ],
)
def test_settings_are_checked(build: Callable[[], object], words: str) -> None:
    with pytest.raises(FlowAtlasError, match=words):
        build()


def test_wrong_conditions() -> None:
    x, t = inputs()
    network = unet(images={"coarse": (1, 4, 4)})
    with pytest.raises(ShapeError, match="coarse"):
        network(x, t, {"coarse": torch.zeros(3, 1, 4, 5)})
    with pytest.raises(ConfigError, match="label"):
        network(x, t, {"label": torch.zeros(3).long()})


@pytest.mark.parametrize("levels", [(8,), (8, 16, 24)])
@pytest.mark.parametrize("blocks", [1, 2])
def test_unet_of_any_depth(levels: tuple[int, ...], blocks: int) -> None:
    network = awake(UNet((1, 8, 4), channels=levels, blocks=blocks, attention=False))
    x = torch.randn(2, 1, 8, 4)
    assert network(x, torch.rand(2)).shape == x.shape


def test_patches_and_back() -> None:
    x = torch.arange(2 * 3 * 4 * 6, dtype=torch.float64).view(2, 3, 4, 6)
    tokens = to_patches(x, 2)
    assert tokens.shape == (2, 6, 12)
    # The second token of the first row is the square beside the first.
    assert torch.equal(tokens[0, 1], x[0, :, :2, 2:4].flatten())
    assert torch.equal(tokens[0, 3], x[0, :, 2:, :2].flatten())
    assert torch.equal(from_patches(tokens, 2, (4, 6)), x)


def test_positions_are_told_apart() -> None:
    place = positions(7, 5, 16)
    assert place.shape == (35, 16)
    assert torch.cdist(place, place).fill_diagonal_(1).min() > 0.1
    # Every pair of sine and cosine lies on the unit circle.
    assert torch.allclose(place.square().sum(1), torch.full((35,), 8.0))
    # Frequencies are 1 and 10000^(-1/2) for eight numbers: row 3, column 2.
    row, column = torch.tensor([3.0, 0.03]), torch.tensor([2.0, 0.02])
    known = torch.cat([row.sin(), row.cos(), column.sin(), column.cos()])
    assert torch.allclose(positions(4, 5, 8)[17], known, atol=1e-6)
    # Moving by a row changes the first half alone.
    assert torch.equal(place[0, 8:], place[5, 8:])
    assert torch.equal(place[0, :8], place[1, :8])


def test_patch_embedding_is_linear_but_for_the_place() -> None:
    layer = PatchEmbedding(1, (4, 4), 2, 8)
    x, y = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    zero = layer(torch.zeros_like(x))
    assert torch.allclose(layer(x + y) - zero, layer(x) + layer(y) - 2 * zero, atol=1e-5)
    tokens = layer(torch.zeros(1, 1, 4, 4))[0]
    assert torch.allclose(tokens[1] - tokens[0], layer.place[1] - layer.place[0], atol=1e-6)


def test_a_block_of_the_transformer_by_hand() -> None:
    """Attention of two heads and a perceptron, each scaled, shifted and gated."""
    block = awake(TransformerBlock(4, 2, 3)).double()
    h, c = _drawn(1, 3, 4), _drawn(1, 3, seed=1)
    vectors = block.modulation(c)[0].split(4)

    def scaled(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        normal = (z - z.mean(-1, keepdim=True)) / (z.var(-1, correction=0) + 1e-5).sqrt()[:, None]
        return (1 + scale) * normal + shift

    z = h[0]
    q, k, v = block.into(scaled(z, vectors[0], vectors[1])).split(4, 1)
    mixed = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = (q[:, head] @ k[:, head].mT / 2**0.5).exp()
        mixed.append(weights / weights.sum(1, keepdim=True) @ v[:, head])
    z = z + vectors[2] * block.out(torch.cat(mixed, 1))
    inner = block.up(scaled(z, vectors[3], vectors[4]))
    bent = 0.5 * inner * (1 + ((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)).tanh())
    z = z + vectors[5] * block.down(bent)
    assert torch.allclose(block(h, c)[0], z, atol=1e-10)


def test_a_block_of_the_u_net_by_hand() -> None:
    """The second convolution sees what is scaled and shifted; both stand beside the way around."""
    block = awake(ConvolutionBlock(8, 16, 3)).double()
    h, c = _drawn(2, 8, 4, 4), _drawn(2, 3, seed=1)
    scale, shift = (part[..., None, None] for part in block.modulation(c).split(16, 1))

    def bent(z: Tensor) -> Tensor:
        return z * z.sigmoid()

    z = block.first(bent(block.norm_in(h)))
    z = block.second(bent((1 + scale) * block.norm_out(z) + shift))
    assert torch.allclose(block(h, c), block.skip(h) + z, atol=1e-10)


def test_attention_of_the_u_net_by_hand() -> None:
    layer = awake(PlaceAttention(8)).double()
    h = _drawn(1, 8, 2, 3)
    q, k, v = layer.into(layer.norm(h))[0].flatten(1).split(8)
    weights = (q.mT @ k / 8**0.5).exp()
    mixed = (v @ (weights / weights.sum(1, keepdim=True)).mT).view(1, 8, 2, 3)
    assert torch.allclose(layer(h), h + layer.out(mixed), atol=1e-10)


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
