"""Two-point correlations: the probability that two voxels a lag r apart lie in given phases.

S2(r) asks both to lie in the same phase, the cross-correlation S2_ij(r) one in phase i and the other in phase j;
over j these sum to the fraction of i. The estimators: products of a mask with its (or the other's) shifted self, summed
over the pairs that the volume holds, divided by the number of those pairs. Without periodicity fewer pairs are left at
larger lags; dividing by their number keeps the estimate unbiased (Torquato, Random Heterogeneous Materials, ch. 2).
Everything is dimensionless, r is in voxels. Everything is differentiable, so soft phases may be given for a mask.

Legend: ... batch, *space = D H W (or H W), A axes, n voxels along the axis in hand, R = r_max lags 0 .. R-1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.descriptors.runs import check_lags
from engine.errors import InputError
from engine.parallel import side_by_side

Mask = Tensor | NDArray[Any]


def directional_s2(mask: Mask, r_max: int, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """S2 for lags along each axis.

    Args:
        mask: [..., *space], bool, integer 0/1, or soft values in [0, 1] (then floating). Numpy or torch.
        r_max: number of lags; r = 0 .. r_max - 1 voxels.
        space_dims: 3 for volumes, 2 for micrographs.
        periodic: pairs wrap around the border.

    Returns:
        S2 [..., A, r_max], the axes in array order (z, y, x). Float64 and exact for a mask (the pairs are
        counted); the input's own type for soft values.

    Raises:
        InputError: r_max is not within 1 .. the shortest side, integers other than 0 and 1, or NaN in an array.
    """
    field, soft = as_field(mask, r_max, space_dims)
    return _directional(field, field, soft, r_max, space_dims, periodic)


def directional_cross_correlation(
    first: Mask, second: Mask, r_max: int, *, space_dims: int = 3, periodic: bool = False
) -> Tensor:
    """Cross-correlation of two phases for lags along each axis, the mean over both senses of the axis.

    Args:
        first, second: the two phases' masks, of one shape; otherwise as for `directional_s2`.
        r_max, space_dims, periodic: as for `directional_s2`.

    Returns:
        [..., A, r_max] as `directional_s2`; 0 at r = 0 for two masks that do not overlap.

    Raises:
        InputError: the shapes differ, or r_max is out of range.
    """
    fields, soft = _as_fields(first, second, r_max, space_dims)
    return _directional(*fields, soft, r_max, space_dims, periodic)


def radial_s2(mask: Mask, r_max: int, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """S2 over all directions: mean over the pairs whose distance rounds to r voxels (every pair counts once).

    FFT autocorrelation (Wiener-Khinchin), zero-padded by r_max - 1 so that no pair wraps around, or unpadded for
    a periodic field. Distances within a shell spread over r ± 1/2, and their mean lies a little above r at small
    r: compare radial curves with radial curves.

    Args:
        mask, r_max, space_dims, periodic: as for `directional_s2`; a periodic field has distances up to half its
            shortest side, hence r_max <= side // 2 + 1.

    Returns:
        S2 [..., r_max], float64 for a mask, the input's own type for soft values.

    Raises:
        InputError: r_max is out of range.
    """
    field, soft = as_field(mask, r_max, space_dims)
    field = field if soft else field.double()
    return _radial(field, field, r_max, space_dims, periodic)


def radial_cross_correlation(
    first: Mask, second: Mask, r_max: int, *, space_dims: int = 3, periodic: bool = False
) -> Tensor:
    """Cross-correlation of two phases over all directions.

    Args:
        first, second: the two phases' masks, of one shape; otherwise as for `radial_s2`.
        r_max, space_dims, periodic: as for `radial_s2`.

    Returns:
        [..., r_max] as `radial_s2`.

    Raises:
        InputError: the shapes differ, or r_max is out of range.
    """
    (one, other), soft = _as_fields(first, second, r_max, space_dims)
    if not soft:
        one, other = one.double(), other.double()
    return _radial(one, other, r_max, space_dims, periodic)


def _directional(first: Tensor, second: Tensor, soft: bool, r_max: int, space_dims: int, periodic: bool) -> Tensor:
    """All products along one axis at once are the Gram matrix G[i, j] = sum of first_i * second_j over the planes i, j
    across that axis; the correlation at r is the mean of its r-th diagonals (both where the fields differ). At 64
    voxels a side this takes half the time of shifted products and a third of that of FFTs.
    """
    batch, space = first.shape[: first.ndim - space_dims], first.shape[first.ndim - space_dims :]
    curves = []
    for axis, n in enumerate(space):
        # [..., before, n, after]: the planes across the axis, without copying where the layout allows
        before, after = _product(space[:axis]), _product(space[axis + 1 :])
        shape = (*batch, before, n, after)
        gram = torch.einsum("...bip,...bjp->...ij", first.reshape(shape), second.reshape(shape))
        if not soft:
            gram = gram.double()  # exact up to here in float32: counts stay below 2**24
        if first is not second:
            gram = (gram + gram.mT) / 2  # both senses of the axis
        i = torch.arange(n, device=first.device)[:, None]
        j = i + torch.arange(r_max, device=first.device)  # [n, R]
        inside = torch.ones_like(j, dtype=gram.dtype) if periodic else (j < n).to(gram.dtype)
        products = (gram[..., i, j % n] * inside).sum(dim=-2)  # [..., R]
        curves.append(products / (inside.sum(dim=0) * (before * after)))
    return torch.stack(curves, dim=-2)


def _radial(first: Tensor, second: Tensor, r_max: int, space_dims: int, periodic: bool) -> Tensor:
    space = first.shape[first.ndim - space_dims :]
    if periodic and r_max > min(space) // 2 + 1:
        raise InputError(
            f"r_max: a periodic field of shape {tuple(space)} has lags below {min(space) // 2 + 1}, asked for {r_max}"
        )
    sizes = list(space) if periodic else [_fast_length(n + r_max - 1) for n in space]
    axes = list(range(-space_dims, 0))

    # Only lags shorter than r_max, and of every lag and its opposite one: the last axis keeps lags from 0 on.
    lags = [_near_lags(m, r_max, last=axis == space_dims - 1) for axis, m in enumerate(sizes)]
    squared = torch.zeros((), dtype=torch.float64)
    held = torch.ones((), dtype=torch.float64)  # pairs of the volume, at each lag
    for axis, (lag, n) in enumerate(zip(lags, space, strict=True)):
        across = [-1 if other_axis == axis else 1 for other_axis in range(space_dims)]
        squared = squared + lag.square().reshape(across)
        held = held * (torch.full_like(lag, n) if periodic else (n - lag.abs()).clamp(min=0)).reshape(across)
    alone = lags[-1] % sizes[-1] == (-lags[-1]) % sizes[-1]  # lags that are their own opposite
    weight = torch.where(alone, 1.0, 2.0).double().expand(squared.shape).flatten()
    shell = squared.sqrt().round().long().flatten()  # [lags]
    near = torch.nonzero(shell < r_max).flatten()
    count = torch.zeros(r_max, dtype=torch.float64).index_add(0, shell[near], (weight * held.flatten())[near])

    device, dtype = first.device, first.dtype
    places = [(lag % m).to(device) for lag, m in zip(lags, sizes, strict=True)]
    shell, weight, near, count = (
        shell[near].to(device),
        weight[near].to(device, dtype),
        near.to(device),
        count.to(first),
    )

    def curve(pair: tuple[Tensor, Tensor]) -> Tensor:
        one, other = pair
        spectrum = torch.fft.rfftn(one, s=sizes, dim=axes)
        second_spectrum = spectrum if first is second else torch.fft.rfftn(other, s=sizes, dim=axes)
        # The real part is the mean over both senses of a lag; written out, since abs() has no gradient at 0.
        power = spectrum.real * second_spectrum.real + spectrum.imag * second_spectrum.imag
        products = torch.fft.irfftn(power, s=sizes, dim=axes)  # [*sizes], lag 0 first
        for axis, place in enumerate(places):
            products = products.index_select(axis, place)
        chosen = products.flatten()[near] * weight
        return torch.zeros(r_max, dtype=dtype, device=device).index_add(0, shell, chosen) / count

    # One item at a time: its spectrum stays in the processor's cache, which is three times faster than a whole batch;
    # and each on one thread: transforms of this size gain nothing from two.
    pairs = list(zip(first.reshape(-1, *space), second.reshape(-1, *space), strict=True))
    curves = side_by_side(curve, pairs) if device.type == "cpu" else [curve(pair) for pair in pairs]
    return torch.stack(curves).reshape(*first.shape[: first.ndim - space_dims], r_max)


def _near_lags(size: int, r_max: int, *, last: bool) -> Tensor:
    """Lags shorter than r_max that an FFT axis of `size` holds, each once; from 0 on along the last axis."""
    lags = torch.arange(size, dtype=torch.int64)
    lags = torch.where(lags > size // 2, lags - size, lags)  # the upper half of an FFT axis holds the negative lags
    near = lags.abs() < r_max
    return lags[near & (lags >= 0)] if last else lags[near]


def autocovariance(s2: Tensor) -> Tensor:
    """Normalised autocovariance (S2 - phi^2) / (phi - phi^2), with phi = S2(0): 1 at r = 0, 0 without correlation.

    Args:
        s2: [..., R] curves of a mask, lag 0 first. (Of soft phases S2(0) is below phi, so this is not theirs.)

    Returns:
        [..., R]; each curve by its own phi, so that sets of volumes are compared in shape apart from fraction.
        A constant field (phi = 0 or 1) has no covariance to normalise: 0 at every r, r = 0 included.
    """
    phi = s2[..., :1]
    variance = phi - phi.square()
    varies = variance > 0
    return torch.where(varies, (s2 - phi.square()) / torch.where(varies, variance, 1.0), 0.0)


def as_field(mask: Mask, r_max: int, space_dims: int) -> tuple[Tensor, bool]:
    """The mask as a floating tensor (float32 for hard masks), and whether it is soft."""
    field = mask if isinstance(mask, Tensor) else torch.from_numpy(np.ascontiguousarray(mask))
    if space_dims < 1 or field.ndim < space_dims or 0 in field.shape:
        raise InputError(f"mask: need at least {space_dims} axes and one voxel, got shape {tuple(field.shape)}")
    check_lags(r_max, field.shape[field.ndim - space_dims :])
    soft = field.is_floating_point()
    if soft and not isinstance(mask, Tensor) and not np.isfinite(mask).all():
        raise InputError("mask: holds NaN or infinite values; soft values lie within 0 and 1")
    if not soft and field.dtype != torch.bool and not bool(((field == 0) | (field == 1)).all()):
        raise InputError("mask: must be bool, hold only 0 and 1, or be soft; compare the labels with one label first")
    return field if soft else field.to(torch.float32), soft


def _as_fields(first: Mask, second: Mask, r_max: int, space_dims: int) -> tuple[tuple[Tensor, Tensor], bool]:
    """Two masks of one shape as `as_field`; soft where either is."""
    (one, soft), (other, other_soft) = (as_field(mask, r_max, space_dims) for mask in (first, second))
    if one.shape != other.shape:
        raise InputError(f"masks: must be of one shape, got {tuple(one.shape)} and {tuple(other.shape)}")
    if soft or other_soft:
        dtype = torch.promote_types(one.dtype, other.dtype)
        one, other = one.to(dtype), other.to(dtype)
    return (one, other), soft or other_soft


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def _fast_length(least: int) -> int:
    """The smallest length from `least` on with no prime factor above 5: FFTs are fast there."""
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
