"""Normalised autocovariance along the axes: S2 without the fraction, so that only shape is compared.

C(r) = (S2(r) - h(r) t(r)) / (phi - phi^2), where h and t are the fractions of the voxels that are heads and tails of
the pairs at lag r. In a bounded volume these differ from phi, the fraction of all voxels: at half the side every pair
has one end in either half. With phi^2 for their product (`two_point.autocovariance`, for curves alone) the phase that
fills most of a volume takes the difference many times over; centred on the ends, a phase and its complement have one
curve.
"""

import torch
from torch import Tensor

from engine.descriptors.two_point import Mask, as_field, directional_s2


def directional_autocovariance(mask: Mask, r_max: int, *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """Normalised autocovariance for lags along each axis.

    Args:
        mask: [..., *space], bool or integer 0/1. Numpy or torch.
        r_max: number of lags; r = 0 .. r_max - 1 voxels.
        space_dims: 3 for volumes, 2 for micrographs.
        periodic: pairs wrap around the border; every voxel then is an end at every lag.

    Returns:
        [..., A, r_max], the axes in array order (z, y, x), float64: 1 at r = 0, about 0 without correlation. The mean
        over volumes lies a little low, by the variance of one volume's fraction over (phi - phi^2). A constant field
        has no covariance to normalise: 0 at every r, r = 0 included.

    Raises:
        InputError: as `directional_s2`.
    """
    field, _ = as_field(mask, r_max, space_dims)
    s2 = directional_s2(mask, r_max, space_dims=space_dims, periodic=periodic).double()
    fraction = field.flatten(-space_dims).mean(dim=-1, dtype=torch.float64)[..., None, None]
    ends = fraction.square().expand_as(s2) if periodic else _ends(field, r_max, space_dims)
    variance = fraction - fraction.square()
    return torch.where(variance > 0, (s2 - ends) / torch.where(variance > 0, variance, 1.0), 0.0)


def _ends(field: Tensor, r_max: int, space_dims: int) -> Tensor:
    """h(r) t(r), [..., A, R]: the means of the first n - r and of the last n - r planes across each axis."""
    products = []
    for axis in range(-space_dims, 0):
        others = [other for other in range(-space_dims, 0) if other != axis]
        planes = field.mean(dim=others, dtype=torch.float64)  # [..., n]
        count = torch.arange(planes.shape[-1], planes.shape[-1] - r_max, -1, device=planes.device)  # n - r
        first, last = (each.cumsum(dim=-1)[..., count - 1] / count for each in (planes, planes.flip(-1)))
        products.append(first * last)
    return torch.stack(products, dim=-2)
