"""The network: plain 3x3 convolutions, a small feature pyramid, one anchor-free head per stride."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDES: Final = (8, 16, 32)
INPUT: Final = (192, 320)
"""Height and width of the input."""


def conv(inside: int, outside: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Detector(nn.Module):
    """Images [B, 3, H, W] (RGB, 0 to 1) to class logits [B, N, C] and boxes xyxy in input pixels [B, N, 4]."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        w, f = (16, 24, 40, 64, 72), 32
        self.stem = nn.Sequential(conv(3, w[0], stride=2), conv(w[0], w[1], stride=2), Residual(w[1]))
        self.stage8 = nn.Sequential(conv(w[1], w[2], stride=2), Residual(w[2]))
        self.stage16 = nn.Sequential(conv(w[2], w[3], stride=2), Residual(w[3]))
        self.stage32 = conv(w[3], w[4], stride=2)
        self.lateral = nn.ModuleList(conv(width, f, 1) for width in w[2:])
        self.context = conv(f, f)
        self.smooth = nn.ModuleList(conv(f, f) for _ in range(2))
        self.head = nn.ModuleList(conv(f, f) for _ in STRIDES)
        self.classify = nn.ModuleList(nn.Conv2d(f, classes, 1) for _ in STRIDES)
        self.regress = nn.ModuleList(nn.Conv2d(f, 4, 1) for _ in STRIDES)
        for layer in self.classify:
            nn.init.constant_(layer.bias, -4.6)
            nn.init.normal_(layer.weight, 0, 0.01)
        centres, strides = grid(INPUT)
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p8 = self.stage8(self.stem(x))
        p16 = self.stage16(p8)
        p32 = self.lateral[2](self.stage32(p16))
        p32 = p32 + self.context(p32)
        p16 = self.smooth[0](self.lateral[1](p16) + functional.interpolate(p32, scale_factor=2.0, mode="nearest"))
        p8 = self.smooth[1](self.lateral[0](p8) + functional.interpolate(p16, scale_factor=2.0, mode="nearest"))
        scores, sides = [], []
        for level, feature in enumerate((p8, p16, p32)):
            shared = self.head[level](feature)
            scores.append(self.classify[level](shared).flatten(2).transpose(1, 2))
            sides.append(self.regress[level](shared).flatten(2).transpose(1, 2))
        reach = functional.softplus(torch.cat(sides, 1).float()) * 2.0 * self.strides
        boxes = torch.cat([self.centres - reach[..., :2], self.centres + reach[..., 2:]], -1)
        return torch.cat(scores, 1).float(), boxes


class Exported(nn.Module):
    """The network as YOLOv8 gives its output: [B, 4 + C, N], centre, size, then scores after the sigmoid."""

    def __init__(self, net: Detector) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits, boxes = self.net(images)
        low, high = boxes[..., :2], boxes[..., 2:]
        return torch.cat([(low + high) / 2, high - low, logits.sigmoid()], -1).transpose(1, 2)


def grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centres [N, 2] and strides [N, 1] of every cell, in input pixels."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = torch.meshgrid(torch.arange(size[0] // stride), torch.arange(size[1] // stride), indexing="ij")
        cells = (torch.stack([columns, rows], -1).reshape(-1, 2).float() + 0.5) * stride
        centres.append(cells)
        strides.append(torch.full((len(cells), 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)
