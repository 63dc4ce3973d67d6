"""A network over frames of a spectrogram that is to be cleaned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad

from flowatlas.errors import ConfigError, ShapeError
from flowatlas.field import Condition
from flowatlas.networks import FourierTimeEmbedding, Pretrained

__all__ = ["FrameNetwork", "loudness"]

_EMBEDDING = 64


_QUIETEST = 1e-4
_FLOOR_SHARE = 0.15
_SOFT = 0.1


class FrameNetwork(Pretrained):
    r"""A convolutional network `(x, t, condition) -> E[x_1 | x_t]` over frames of a residual.

    The state x is what has to be added to the noisy spectrogram y, `condition["noisy"]`, to have
    the clean one: frames `(batch, frames, 2F)`, real parts before imaginary ones. When a frame
    begins is arbitrary, and with it the phase of each bin. So every bin is first turned by
    $\bar y / |y|$, which makes y real, and the prediction is turned back at the end: turning bins
    of x and y by any angles turns those of the prediction by the same. In between,

    $$\hat x = \tanh(p) \, |y| + i \tanh(q) \, |y| + g \circ x$$

    with p, q and g for each bin. The first two are a complex mask on y, less one: -1 takes a bin
    away, 0 leaves it as it is, and nothing makes it more than twice as loud. All three start at
    zero, so that the noisy spectrogram is left as it is.

    They are found by residual layers, each a perceptron over a window of frames, scaled, shifted
    and gated by an embedding of t, from

    - $\log |y|$,
    - $\log |y| - \log n$, where n is the noise floor of each bin: the 15th percentile of |y| over
      the frames, which is what is heard between words. It is the same for all frames, so that
      steady noise of any spectrum, heard in training or not, is told from speech,
    - $\log n$ less the mean of $\log |y|$ over the frames,
    - $x / (|y| + 0.1)$, turned: what x says about the mask.

    At t = 0 the state is a draw of the source, from which nothing can be learnt. So x is weighed
    by t / (t + 0.1) everywhere, and the first prediction is that of a network without x.

    Frames that a mask leaves out are not seen by the others, and have a prediction of zero.

    Args:
        bins: F.
        width: of the vectors between layers.
        depth: layers; layer i has a dilation of 1, 2, 4, 8, 1, 2, 4, 8 ...
        window: frames that a layer sees at once, odd; they are as far apart as its dilation.
        expansion: of the perceptrons.

    Raises:
        ConfigError: sizes below 1, or an even window.
        ShapeError: at a call, inputs that do not fit.

    Reference: Scalable Diffusion Models with Transformers, Peebles and Xie, 2022, arXiv:2212.09748,
    for scales, shifts and gates; Noise power spectral density estimation based on optimal smoothing
    and minimum statistics, Martin, 2001, for the idea of a floor; Complex ratio masking for
    monaural speech separation, Williamson, Wang and Wang, 2016, for the mask (the last two from
    memory). The turned bins are ours.

    Example:
        ```python
        from flowatlas_audio import FrameNetwork

        network = FrameNetwork(129, width=32, depth=2)
        noisy = torch.randn(2, 63, 258)
        network(torch.zeros(2, 63, 258), torch.zeros(2), {"noisy": noisy}).shape  # (2, 63, 258)
        ```
    """

    def __init__(
        self,
        bins: int,
        *,
        width: int = 160,
        depth: int = 6,
        window: int = 3,
        expansion: int = 2,
    ) -> None:
        super().__init__()
        if min(bins, width, depth, expansion) < 1:
            raise ConfigError(
                f"bins, width, depth, expansion: got {bins}, {width}, {depth}, {expansion}; each "
                "must be at least 1."
            )
        if window < 1 or window % 2 == 0:
            raise ConfigError(
                f"window: got {window}; it must be odd, a frame in the middle, and at least 1."
            )
        self.bins = bins
        self.time = FourierTimeEmbedding(_EMBEDDING)
        self.context = nn.Linear(_EMBEDDING, _EMBEDDING)
        self.bottom = nn.Linear(5 * bins, width)
        self.layers = nn.ModuleList(
            _Layer(width, window, 2 ** (i % 4), expansion) for i in range(depth)
        )
        self.top = nn.Linear(width, 3 * bins)
        nn.init.zeros_(self.top.weight)
        nn.init.zeros_(self.top.bias)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Condition | None = None,
        *,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The clean spectrogram less the noisy one, as expected at (x, t).

        Args:
            x: `(batch, frames, 2F)`.
            t: `(batch,)`.
            condition: with "noisy", of the shape of x.
            mask: True where a frame exists, `(batch, frames)`.
        """
        noisy = self._noisy(x, t, condition, mask)
        if mask is not None:
            there = mask.unsqueeze(-1)
            x, noisy = torch.where(there, x, 0.0), torch.where(there, noisy, 0.0)
        real, imag = noisy.chunk(2, -1)
        # A bin of y that is silent has no phase; its residual is left as it stands.
        heard = torch.maximum(real.abs(), imag.abs()) > 1e-7
        real, imag = torch.where(heard, real, 1.0), torch.where(heard, imag, 0.0)
        length = torch.hypot(real, imag)
        cos, sin = real / length, imag / length
        magnitude = torch.where(heard, length, 0.0)
        weight = (t / (t + _SOFT)).to(x.dtype).view(-1, 1, 1)
        a, b = (weight * x).chunk(2, -1)
        a, b = a * cos + b * sin, b * cos - a * sin
        soft = magnitude + _SOFT
        h = self.bottom(torch.cat([*loudness(magnitude, mask), a / soft, b / soft], -1))
        e = nn.functional.silu(self.context(self.time(t.to(h.dtype))))
        for layer in self.layers:
            h = layer(h, e, mask)
        p, q, g = self.top(layer_norm(h, h.shape[-1:])).chunk(3, -1)
        a, b = p.tanh() * magnitude + g * a, q.tanh() * magnitude + g * b
        out = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        return out if mask is None else torch.where(mask.unsqueeze(-1), out, 0.0)

    def _noisy(
        self, x: Tensor, t: Tensor, condition: Condition | None, mask: Tensor | None
    ) -> Tensor:
        if x.ndim != 3 or x.shape[-1] != 2 * self.bins:
            raise ShapeError(
                f"x: got shape {tuple(x.shape)}; need (batch, frames, {2 * self.bins}), real and "
                f"imaginary parts of {self.bins} bins."
            )
        if t.shape != x.shape[:1]:
            raise ShapeError(f"t: got shape {tuple(t.shape)}; need ({len(x)},), one per sample.")
        if condition is None or set(condition) != {"noisy"}:
            keys = [] if condition is None else sorted(condition)
            raise ShapeError(
                f"condition: got keys {keys}; need 'noisy' alone, the spectrogram to clean."
            )
        noisy = condition["noisy"]
        if noisy.shape != x.shape:
            raise ShapeError(
                f"condition['noisy']: got shape {tuple(noisy.shape)}; need that of x, "
                f"{tuple(x.shape)}."
            )
        if mask is not None and mask.shape != x.shape[:2]:
            raise ShapeError(
                f"mask: got shape {tuple(mask.shape)}; need {tuple(x.shape[:2])}, one entry per "
                "frame."
            )
        return noisy


def loudness(magnitude: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Three views of the magnitudes, brought to about one: themselves, over the floor, the floor.

    Args:
        magnitude: `(batch, frames, F)`.
        mask: True where a frame exists, `(batch, frames)`.
    """
    level = magnitude.clamp(min=_QUIETEST).log()
    if mask is None:
        count = torch.full((len(level), 1, 1), level.shape[1], device=level.device)
        mean, order = level.mean(1, keepdim=True), level.sort(1).values
    else:
        there = mask.unsqueeze(-1)
        count = there.sum(1, keepdim=True)
        mean = torch.where(there, level, 0.0).sum(1, keepdim=True) / count.clamp(min=1)
        # Frames that do not exist come last. Samples without any frame have a finite floor too.
        order = torch.where(there, level, level.detach().amax() + 1.0).sort(1).values
    place = ((count - 1).clamp(min=0) * _FLOOR_SHARE).long()
    floor = order.gather(1, place.expand(-1, 1, level.shape[-1]))
    return (
        0.4 * level + 1.0,
        0.4 * (level - floor) - 0.6,
        (0.4 * (floor - mean) + 0.5).expand_as(level),
    )


class _Layer(nn.Module):
    """A perceptron over a window of frames, gated by the embedding."""

    def __init__(self, width: int, window: int, dilation: int, expansion: int) -> None:
        super().__init__()
        self.window = window
        self.dilation = dilation
        self.up = nn.Linear(window * width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.modulation = nn.Linear(_EMBEDDING, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        with torch.no_grad():
            self.modulation.bias[-width:] = 1.0

    def forward(self, h: Tensor, e: Tensor, mask: Tensor | None) -> Tensor:
        scale, shift, gate = self.modulation(e).unsqueeze(1).chunk(3, -1)
        z = torch.addcmul(shift, layer_norm(h, h.shape[-1:]), 1 + scale)
        z = z if mask is None else torch.where(mask.unsqueeze(-1), z, 0.0)
        reach, frames = self.dilation * (self.window // 2), h.shape[1]
        z = pad(z, (0, 0, reach, reach))
        # A matrix product costs a CPU no more than a depthwise convolution of a third of its work.
        starts = range(0, self.window * self.dilation, self.dilation)
        z = torch.cat([z[:, i : i + frames] for i in starts], -1)
        moved: Tensor = h + gate * self.down(nn.functional.gelu(self.up(z), approximate="tanh"))
        return moved
