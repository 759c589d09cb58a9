"""The Inception network of the published Frechet distances, read from a file of its weights.

Architecture: Inception v3 (Szegedy et al. 2016) as its authors' file of 2015-12-05 has it, with which Heusel et al.
2017 defined the distance: averages leave the padding out, and the last block takes a maximum. Weights: the PyTorch file
that pytorch-fid (`pt_inception-2015-12-05-6726825d.pth`) and torch-fidelity (`weights-inception-...`) publish, one file
under two names. Those packages are not called: both need torchvision, which does not load beside every build of torch.
The modules have the names that they have in the file. It is read as weights only, so it cannot run anything.

Legend: B images, C channels, H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import InputError

SIDE = 299
FEATURES = 2048
LEFT_OUT = ("fc.", ".num_batches_tracked")
"""Entries of a file that the features do not need: the classes, and a counter of training."""

Kernel = int | tuple[int, int]
Step = tuple[str, int, Kernel]
"""Name, channels out, kernel."""


class Convolution(nn.Module):
    """Convolution, batch normalisation, rectifier."""

    def __init__(self, channels: int, out: int, kernel: Kernel, stride: int = 1, *, padded: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(channels, out, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """A block of parallel branches of convolutions, and one that pools; their channels are put side by side.

    Args:
        channels: in.
        branches: of each branch its convolutions in order. Two whose names end in `a` and `b` both follow the one
            before them. In a block that halves the image the last convolution of each branch has stride 2.
        pooled: channels of the convolution after the pool; None for a block that halves the image and pools alone.
        maximum: the pool takes the maximum, not the mean.
    """

    def __init__(
        self, channels: int, branches: Sequence[Sequence[Step]], pooled: int | None, *, maximum: bool = False
    ) -> None:
        super().__init__()
        self.paths = [[name for name, _, _ in steps] for steps in branches]
        self.halves = pooled is None
        for steps in branches:
            width = channels
            for place, (name, out, kernel) in enumerate(steps):
                last = self.halves and place == len(steps) - 1
                self.add_module(name, Convolution(width, out, kernel, 2 if last else 1, padded=not last))
                width = width if name.endswith("a") else out
        if pooled is None:
            self.pool: nn.Module = nn.MaxPool2d(3, 2)
        else:
            self.pool = nn.MaxPool2d(3, 1, 1) if maximum else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
            self.branch_pool = Convolution(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for names in self.paths:
            value, ends = x, []
            for name in names:
                step = getattr(self, name)
                if name.endswith(("a", "b")):
                    ends.append(step(value))
                else:
                    value = step(value)
            found += ends or [value]
        pooled = self.pool(x)
        return torch.cat([*found, pooled if self.halves else self.branch_pool(pooled)], dim=1)


def _block_5(channels: int, pooled: int) -> Mixed:
    return Mixed(
        channels,
        [
            [("branch1x1", 64, 1)],
            [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
            [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ],
        pooled,
    )


def _block_6(width: int) -> Mixed:
    across, down = (1, 7), (7, 1)
    double: list[Step] = [
        (f"branch7x7dbl_{k}", width, kernel) for k, kernel in ((1, 1), (2, down), (3, across), (4, down))
    ]
    return Mixed(
        768,
        [
            [("branch1x1", 192, 1)],
            [("branch7x7_1", width, 1), ("branch7x7_2", width, across), ("branch7x7_3", 192, down)],
            [*double, ("branch7x7dbl_5", 192, across)],
        ],
        192,
    )


def _block_7(channels: int, *, maximum: bool) -> Mixed:
    across, down = (1, 3), (3, 1)
    return Mixed(
        channels,
        [
            [("branch1x1", 320, 1)],
            [("branch3x3_1", 384, 1), ("branch3x3_2a", 384, across), ("branch3x3_2b", 384, down)],
            [
                ("branch3x3dbl_1", 448, 1),
                ("branch3x3dbl_2", 384, 3),
                ("branch3x3dbl_3a", 384, across),
                ("branch3x3dbl_3b", 384, down),
            ],
        ],
        192,
        maximum=maximum,
    )


class Inception(nn.Module):
    """Images to the 2,048 features before the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_5(192, 32), _block_5(256, 64), _block_5(288, 64)
        double: list[Step] = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
        self.Mixed_6a = Mixed(288, [[("branch3x3", 384, 3)], double], None)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_block_6, (128, 160, 160, 192))
        seven: list[Step] = [("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1))]
        three: list[Step] = [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)]
        self.Mixed_7a = Mixed(768, [three, [*seven, ("branch7x7x3_4", 192, 3)]], None)
        self.Mixed_7b, self.Mixed_7c = _block_7(1280, maximum=False), _block_7(2048, maximum=True)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> [B, 2048]."""
        x = (resize(images.float()) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(nn.functional.max_pool2d(x, 3, 2)))
        x = nn.functional.max_pool2d(x, 3, 2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(self, f"Mixed_{name}")(x)
        return x.mean(dim=(2, 3))


def resize(images: Tensor) -> Tensor:
    """To SIDE pixels a side, bilinear with TensorFlow 1's places y * H / SIDE (no half pixels), as the distance was
    first defined: [B, C, H, W] -> [B, C, SIDE, SIDE]."""
    for axis in (2, 3):
        n = images.shape[axis]
        place = torch.arange(SIDE, device=images.device) * (n / SIDE)
        low = place.long()
        across = [-1 if other == axis else 1 for other in range(4)]
        share = (place - low).to(images).reshape(across)
        first, second = images.index_select(axis, low), images.index_select(axis, (low + 1).clamp(max=n - 1))
        images = first + (second - first) * share
    return images


def load_inception(weights: Path) -> Inception:
    """The network with the weights of a file.

    Raises:
        InputError: no such file, or one with other contents.
    """
    if not weights.is_file():
        raise InputError(f"--inception {weights}: no such file; docs/evaluation.md says which one is meant")
    try:
        found = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen unrelated types; all mean that the file is another one
        raise InputError(f"--inception {weights}: not a file of PyTorch weights ({type(error).__name__})") from None
    network = Inception().eval().requires_grad_(False)
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(LEFT_OUT[1])}
    given = (
        {name: value for name, value in found.items() if isinstance(value, Tensor)} if isinstance(found, dict) else {}
    )
    wrong = [
        name
        for name, value in wanted.items()
        if name not in given or given[name].shape != value.shape or not given[name].isfinite().all()
    ]
    wrong += [
        name
        for name in given
        if name not in wanted and not name.startswith(LEFT_OUT[0]) and not name.endswith(LEFT_OUT[1])
    ]
    if wrong:
        raise InputError(
            f"--inception {weights}: {len(wrong)} of {len(wanted)} weights are missing, of another shape, not finite "
            f"or unknown, first {wrong[0]}; give pt_inception-2015-12-05-6726825d.pth of pytorch-fid"
        )
    network.load_state_dict({name: given[name] for name in wanted}, strict=False)
    return network
