"""Gram features: which features of a convolutional network occur together, wherever in the image (Gatys et al. 2015).

G[i, j] is the mean over an image of feature i times feature j; two images whose G agree look alike as textures, so
the distance of G compares microstructures (Düreth et al., eq. 9). The numbers depend on the network, which every result
therefore names. Theirs is VGG-19 on grey images; its weights cannot be shipped or fetched here, so their figures are
not comparable with these. The network here has one layer of random filters of several sizes, which makes textures as
well as trained ones do (Ustyuzhaninov et al. 2016); any other, such as a bundle's encoder, can be passed in.

Legend: B images, K phases, H W space, F features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import InputError

_SIDES = (3, 5, 7, 11, 15, 23)  # pixels; up to the coarsest structure of a 64² training crop
_FILTERS = 16  # of each size
_SEED = 20_150_607


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """A named map from images to feature maps."""

    name: str
    """Says what the features are: architecture, weights, version. Equal names mean comparable numbers."""
    layers: Callable[[Tensor], Sequence[Tensor]]
    """[B, K, H, W] phases -> feature maps [B, F, h, w] of one or several layers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GramFeatures:
    """Gram matrices with the network that they belong to."""

    network: str
    matrices: tuple[Tensor, ...]
    """[B, F, F] of each layer, dimensionless."""

    def distance(self, other: "GramFeatures") -> Tensor:
        """Mean squared difference of all entries, [B].

        Raises:
            InputError: the features are of different networks.
        """
        if self.network != other.network:
            raise InputError(
                f"Gram features of '{self.network}' and of '{other.network}' cannot be compared; use one network"
            )
        pairs = zip(self.matrices, other.matrices, strict=True)
        squares = [(one - two).square().flatten(1) for one, two in pairs]
        return torch.cat(squares, dim=1).mean(dim=1)


def gram_features(phases: Tensor, network: FeatureNetwork) -> GramFeatures:
    """Gram matrices of images, or of the slices of volumes. Differentiable in the phases.

    Args:
        phases: [B, K, H, W] or [B, K, D, H, W], one-hot or soft. A volume's matrices are the mean over all its slices
            across z, y and x.
        network: gives the features.

    Raises:
        InputError: another number of axes, or slices smaller than the network's filters.
    """
    if phases.ndim == 4:
        return GramFeatures(network=network.name, matrices=tuple(_gram(maps) for maps in network.layers(phases)))
    if phases.ndim != 5:
        raise InputError(f"phases: must be [B, K, H, W] or [B, K, D, H, W], got {tuple(phases.shape)}")
    per_axis = []
    for axis in (2, 3, 4):
        slices = phases.movedim(axis, 1)  # [B, n, K, *plane]
        count, n = slices.shape[:2]
        grams = [_gram(each) for each in network.layers(slices.flatten(0, 1))]
        per_axis.append([gram.reshape(count, n, *gram.shape[1:]).mean(dim=1) for gram in grams])
    layers = zip(*per_axis, strict=True)
    return GramFeatures(network=network.name, matrices=tuple(torch.stack(layer).mean(dim=0) for layer in layers))


@cache
def filter_bank(phases: int) -> tuple[NDArray[np.float64], ...]:
    """The weights of `random_filters`: [16, K, side, side] for each side, 3 to 23 pixels; the same everywhere.

    Every filter has mean 0 and norm 1, so a feature is 0 on a uniform image and of order 1 on any other.
    """
    bank = []
    for side in _SIDES:
        generator = np.random.Generator(np.random.PCG64([_SEED, phases, side]))
        values = generator.standard_normal((_FILTERS, phases, side, side))
        values -= values.mean(axis=(2, 3), keepdims=True)
        bank.append(values / np.linalg.norm(values.reshape(_FILTERS, -1), axis=1)[:, None, None, None])
    return tuple(bank)


@cache
def random_filters(phases: int) -> FeatureNetwork:
    """One layer of the filters of `filter_bank` with a rectifier, for K phases."""
    weights = filter_bank(phases)

    def layers(images: Tensor) -> list[Tensor]:
        if min(images.shape[-2:]) < _SIDES[-1]:
            raise InputError(
                f"images of {images.shape[-2]}x{images.shape[-1]}: Gram features need at least {_SIDES[-1]} a side"
            )
        maps = []
        for values in weights:
            filters = torch.from_numpy(values).to(images)
            maps.append(torch.nn.functional.conv2d(images, filters).relu())
        # every filter size on the places that hold the largest one, so that features meet at the same pixel
        height, width = maps[-1].shape[-2:]
        return [torch.cat([_centre(each, height, width) for each in maps], dim=1)]

    sides = ", ".join(map(str, _SIDES))
    name = f"random filters v1: one layer, {_FILTERS} each of {sides} pixels, rectified, seed {_SEED}, {phases} phases"
    return FeatureNetwork(name=name, layers=layers)


def _gram(maps: Tensor) -> Tensor:
    """[B, F, h, w] -> [B, F, F]: mean over places of every product of two features."""
    flat = maps.flatten(2)
    return flat @ flat.mT / flat.shape[2]


def _centre(maps: Tensor, height: int, width: int) -> Tensor:
    top, left = (maps.shape[-2] - height) // 2, (maps.shape[-1] - width) // 2
    return maps[..., top : top + height, left : left + width]
