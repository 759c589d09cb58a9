"""A volume seen from a corner: every pixel of the picture follows its own ray through the voxels.

Rays walk from voxel to voxel as in Amanatides and Woo, "A fast voxel traversal algorithm for ray tracing"
(Eurographics 1987), all of them at once; the view is orthographic, so all have one direction. Exact for voxels: no
surface is made, none is smoothed.
"""

import numpy as np
from numpy.typing import NDArray

# Share of the light that a face gets: from above most, so that the three directions of faces can be told apart.
_LIGHT_OF_AXIS = np.array([1.0, 0.72, 0.86])  # faces across z, y, x


def view_from_corner(
    labels: NDArray[np.uint8], colours: NDArray[np.float64], shown: NDArray[np.bool_], *, pixels: int = 480
) -> NDArray[np.float64]:
    """Picture of a volume: z points up, x to the right and front, y to the left and front.

    Args:
        labels: (z, y, x), phase indices 0..K-1.
        colours: [K, 3].
        shown: [K], phases that are not see-through.
        pixels: height of the picture; the width follows.

    Returns:
        [height, width, 4] red, green, blue and opacity within 0..1; opacity 0 where a ray meets nothing.
    """
    # The viewer looks along `forward` = -(1, 1, 1) in (z, y, x): down, and towards smaller y and x.
    shape = np.array(labels.shape, dtype=np.float64)
    forward = -np.ones(3) / np.sqrt(3)
    right = np.array([0.0, -1.0, 1.0]) / np.sqrt(2)
    up = np.cross(right, forward)
    up *= np.sign(up[0])
    corners = np.array(np.meshgrid(*[(0.0, side) for side in shape], indexing="ij")).reshape(3, 8).T
    across, above = corners @ right, corners @ up
    step = (above.max() - above.min()) / pixels
    width = max(1, int(np.ceil((across.max() - across.min()) / step)))
    u = across.min() + (np.arange(width) + 0.5) * step
    v = above.max() - (np.arange(pixels) + 0.5) * step
    on_screen = (u[None, :, None] * right + v[:, None, None] * up).reshape(-1, 3)  # through the origin, along `forward`

    # Where each ray enters the box: the last of the three planes through which it comes in.
    enters = (shape - on_screen) / forward
    leaves = (0 - on_screen) / forward
    start, end = enters.max(axis=1), leaves.min(axis=1)
    rays = np.flatnonzero(start < end - 1e-9)
    axis = enters[rays].argmax(axis=1)
    points = on_screen[rays] + (start[rays, None] + 1e-7) * forward
    voxel = np.clip(np.floor(points), 0, shape - 1).astype(np.int64)
    crossing = (voxel - on_screen[rays]) / forward  # distance along the ray at which it leaves the voxel, per axis
    stride = 1 / np.abs(forward)

    picture = np.zeros((len(on_screen), 4))
    near, far = start[rays].min(initial=0.0), end[rays].max(initial=1.0)
    depth = start[rays].copy()
    while len(rays):
        found = labels[voxel[:, 0], voxel[:, 1], voxel[:, 2]]
        hit = shown[found]
        # Deeper is darker, which shows how far one looks into a pore.
        light = _LIGHT_OF_AXIS[axis[hit]] * (1 - 0.55 * (depth[hit] - near) / (far - near))
        picture[rays[hit], :3] = colours[found[hit]] * light[:, None]
        picture[rays[hit], 3] = 1.0
        keep = ~hit
        rays, voxel, crossing = rays[keep], voxel[keep], crossing[keep]
        axis = crossing.argmin(axis=1)
        rows = np.arange(len(rays))
        depth = crossing[rows, axis]
        voxel[rows, axis] -= 1
        crossing[rows, axis] += stride[axis]
        inside = voxel[rows, axis] >= 0
        rays, voxel, crossing, axis, depth = rays[inside], voxel[inside], crossing[inside], axis[inside], depth[inside]
    return picture.reshape(pixels, width, 4)
