"""The network over frames: its symmetry, its masks, its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowatlas.errors import ConfigError, ShapeError
from flowatlas_audio import FrameNetwork
from flowatlas_audio.network import _Layer, loudness

BINS = 9


@pytest.fixture
def network() -> FrameNetwork:
    """With all weights random: new ones predict zero."""
    torch.manual_seed(0)
    made = FrameNetwork(BINS, width=16, depth=3)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.double().eval()


def inputs(frames: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, noisy = (
        torch.randn(2, frames, 2 * BINS, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return x, torch.tensor([0.2, 0.9], dtype=torch.float64), noisy


def layers(network: FrameNetwork) -> list[_Layer]:
    return [layer for layer in network.layers if isinstance(layer, _Layer)]


def turned(x: Tensor, angle: Tensor) -> Tensor:
    found = torch.complex(*x.chunk(2, -1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([found.real, found.imag], -1)


def test_new_networks_leave_speech_as_it_is() -> None:
    x, t, noisy = (a.float() for a in inputs())
    assert (FrameNetwork(BINS)(x, t, {"noisy": noisy}) == 0).all()


def test_turning_bins_turns_the_prediction(network: FrameNetwork) -> None:
    x, t, noisy = inputs()
    angle = 6 * torch.rand(2, 12, BINS, dtype=torch.float64)
    plain = network(x, t, {"noisy": noisy})
    moved = network(turned(x, angle), t, {"noisy": turned(noisy, angle)})
    assert (moved - turned(plain, angle)).abs().max() < 1e-9
    # Of any meaning only if the prediction depends on both.
    assert (network(turned(x, angle), t, {"noisy": noisy}) - plain).abs().max() > 0.1
    assert (network(x, 1 - t, {"noisy": noisy}) - plain).abs().max() > 1e-3


def test_the_source_says_nothing(network: FrameNetwork) -> None:
    x, t, noisy = inputs()
    one, other = (network(a, 0 * t, {"noisy": noisy}) for a in (x, x.flip(1)))
    assert torch.equal(one, other)
    assert not torch.isclose(network(x, t, {"noisy": noisy}), one).all()


def test_the_mask_is_bounded(network: FrameNetwork) -> None:
    """With x at rest: real and imaginary parts of a change of up to |y| each."""
    _, t, noisy = inputs()
    with torch.no_grad():
        network.top.weight.mul_(100.0)
    found = torch.complex(*network(torch.zeros_like(noisy), t, {"noisy": noisy}).chunk(2, -1))
    ratio = found / torch.complex(*noisy.chunk(2, -1))
    assert (ratio.real.abs() <= 1 + 1e-9).all() and (ratio.imag.abs() <= 1 + 1e-9).all()
    assert ratio.real.abs().max() > 0.999 and ratio.imag.abs().max() > 0.999


def test_the_floor_is_a_low_percentile_over_existing_frames() -> None:
    level = torch.arange(40.0).view(1, 40, 1).expand(2, 40, 3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    exists = torch.ones(2, 40, dtype=torch.bool)
    exists[1, 20:] = False
    # 15 % of 39 and of 19 are 5.85 and 2.85: the sixth and the third lowest.
    for mask, floor, mean in ((None, (5.0, 5.0), (19.5, 19.5)), (exists, (5.0, 2.0), (19.5, 9.5))):
        magnitude = (0.1 * level).exp()
        if mask is None:
            magnitude = magnitude[:, order]
        _, over, under = loudness(magnitude, mask)
        raw, found = (over + 0.6) / 0.4, (under - 0.5) / 0.4
        expected = 0.1 * torch.tensor(floor).view(2, 1, 1)
        seen = exists if mask is not None else torch.ones_like(exists)
        assert torch.allclose((magnitude.log() - raw)[seen], expected.expand(2, 40, 3)[seen])
        gap = 0.1 * (torch.tensor(floor) - torch.tensor(mean)).view(2, 1, 1)
        assert torch.allclose(found, gap.expand(2, 40, 3), atol=1e-5)


@pytest.mark.parametrize(
    ("window", "depth", "reach"), [(3, 4, 15), (3, 5, 16), (5, 2, 6), (1, 3, 0)]
)
def test_frames_see_as_far_as_the_dilations_add_up(window: int, depth: int, reach: int) -> None:
    """1 + 2 + 4 + 8 + 1 + ... times half a window; what is asked is x, for the floor sees all."""
    torch.manual_seed(0)
    network = FrameNetwork(BINS, width=16, depth=depth, window=window).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, t, noisy = inputs(frames=41)
    moved = x.clone()
    moved[:, 20] += 1.0
    change = (
        (network(moved, t, {"noisy": noisy}) - network(x, t, {"noisy": noisy})).abs().amax((0, 2))
    )
    seen = (torch.arange(41) - 20).abs() <= reach
    assert (change[~seen] == 0).all()
    # Each frame within reach is seen by a window of dilations, so that none is left out.
    assert (change[seen] > 0).all()


def test_gates_close_layers_and_are_open_at_first(network: FrameNetwork) -> None:
    x, t, noisy = inputs()
    plain = network(x, t, {"noisy": noisy})
    for layer in layers(network):
        nn.init.zeros_(layer.modulation.weight)
        nn.init.zeros_(layer.modulation.bias)
    closed = network(x, t, {"noisy": noisy})
    for layer in layers(network):
        nn.init.normal_(layer.up.weight)
        nn.init.normal_(layer.down.weight)
    assert torch.equal(network(x, t, {"noisy": noisy}), closed)
    assert not torch.isclose(plain, closed).all()
    fresh = FrameNetwork(BINS, width=16, depth=2).double()
    nn.init.normal_(fresh.top.weight)
    at_first = fresh(x, t, {"noisy": noisy})
    for layer in layers(fresh):
        nn.init.zeros_(layer.down.weight)
    assert not torch.isclose(fresh(x, t, {"noisy": noisy}), at_first).all()


def test_padding_never_changes_the_rest(network: FrameNetwork) -> None:
    x, t, noisy = inputs()
    alone = network(x[1:, :7], t[1:], {"noisy": noisy[1:, :7]})
    mask = torch.arange(12) < torch.tensor([[12], [7]])
    for filler in (0.0, 1e3, torch.nan):
        padded = [torch.where(mask.unsqueeze(-1), a, filler) for a in (x, noisy)]
        found = network(padded[0], t, {"noisy": padded[1]}, mask=mask)
        assert (found[1, :7] - alone[0]).abs().max() < 1e-12
        assert (found[1, 7:] == 0).all()
    # What is masked would have been seen.
    assert (network(x, t, {"noisy": noisy})[1, :7] - alone[0]).abs().max() > 1e-3


def test_gradients_are_finite_at_silence(network: FrameNetwork) -> None:
    x = torch.zeros(1, 5, 2 * BINS, dtype=torch.float64, requires_grad=True)
    noisy = torch.zeros_like(x, requires_grad=True)
    network(x, torch.zeros(1, dtype=torch.float64), {"noisy": noisy}).square().sum().backward()
    for one in (x, noisy, *network.parameters()):
        assert one.grad is not None and torch.isfinite(one.grad).all()


def test_saved_networks_come_back(network: FrameNetwork, tmp_path: Path) -> None:
    network = network.float()
    x, t, noisy = (a.float() for a in inputs())
    network.save_pretrained(tmp_path)
    again = FrameNetwork.from_pretrained(tmp_path)
    assert again.config == network.config
    assert torch.equal(again(x, t, {"noisy": noisy}), network(x, t, {"noisy": noisy}))


def test_bad_input_is_named(network: FrameNetwork) -> None:
    x, t, noisy = inputs()
    condition = {"noisy": noisy}
    with pytest.raises(ShapeError, match=r"x: got shape \(2, 12, 17\)"):
        network(x[..., 1:], t, condition)
    with pytest.raises(ShapeError, match="t: got shape"):
        network(x, t[:1], condition)
    for wrong in (None, {}, {"noise": noisy}):
        with pytest.raises(ShapeError, match="'noisy' alone"):
            network(x, t, wrong)
    with pytest.raises(ShapeError, match=r"condition\['noisy'\]"):
        network(x, t, {"noisy": noisy[:, 1:]})
    with pytest.raises(ShapeError, match="mask"):
        network(x, t, condition, mask=torch.ones(2, 11, dtype=torch.bool))
    with pytest.raises(ConfigError, match="window"):
        FrameNetwork(BINS, window=4)
    with pytest.raises(ConfigError, match="depth"):
        FrameNetwork(BINS, depth=0)
