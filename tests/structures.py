"""Geometries whose descriptors and properties are known: plain functions that return uint8 volumes [D, H, W], 1 inside
the phase and 0 outside."""

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.uint8]
Shape = tuple[int, int, int]


def laminate(shape: Shape, normal: int, period: int, thickness: int) -> Volume:
    """Layers stacked along the axis `normal`: of every `period` voxels the first `thickness` are the phase. Flux along
    `normal` crosses the layers, flux along another axis runs within them."""
    inside = np.arange(shape[normal]) % period < thickness
    return np.broadcast_to(np.expand_dims(inside, _others(normal)), shape).astype(np.uint8)


def checkerboard(shape: Shape, cell: int) -> Volume:
    """Cubes of `cell` voxels, alternating along all three axes; the one at the origin is the phase."""
    return ((np.indices(shape) // cell).sum(0) % 2 == 0).astype(np.uint8)


def sphere(shape: Shape, radius: float) -> Volume:
    """One sphere about the middle of the volume: voxels whose centres lie within `radius` (in voxels)."""
    return (_squared_distance(shape, shape) <= radius**2).astype(np.uint8)


def cubic_spheres(shape: Shape, period: int, radius: float) -> Volume:
    """A simple-cubic array of spheres, one in the middle of every cube of `period` voxels."""
    return (_squared_distance(shape, (period, period, period)) <= radius**2).astype(np.uint8)


def channel(shape: Shape, axis: int, width: int) -> Volume:
    """A straight channel of square section (width x width) from face to face along `axis`, in the corner."""
    volume = np.zeros(shape, np.uint8)
    section = [slice(width)] * 3
    section[axis] = slice(None)
    volume[tuple(section)] = 1
    return volume


def dead_ends(shape: Shape, axis: int) -> Volume:
    """A phase that fills the volume but for one layer in the middle of `axis`: it percolates along every axis but this
    one."""
    volume = np.ones(shape, np.uint8)
    np.moveaxis(volume, axis, 0)[shape[axis] // 2] = 0
    return volume


def level_cut(shape: Shape, fraction: float, smoothing: float, seed: int) -> Volume:
    """A random medium: white noise smoothed by a Gaussian of `smoothing` voxels (periodic) and cut so that the largest
    values make up `fraction` of the volume, to the voxel."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    squared = sum(np.meshgrid(*(np.fft.fftfreq(size) ** 2 for size in shape), indexing="ij"))
    field = np.fft.ifftn(np.fft.fftn(noise) * np.exp(-2 * (np.pi * smoothing) ** 2 * squared)).real
    volume = np.zeros(field.size, np.uint8)
    volume[np.argsort(field, axis=None)[field.size - round(fraction * field.size) :]] = 1
    return volume.reshape(shape)


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)


def _squared_distance(shape: Shape, period: Shape) -> NDArray[np.float64]:
    """Squared distance of every voxel centre from the middle of its box of `period` voxels."""
    axes = [(np.arange(size) % box + 0.5 - box / 2) ** 2 for size, box in zip(shape, period, strict=True)]
    return np.asarray(sum(np.meshgrid(*axes, indexing="ij")))
