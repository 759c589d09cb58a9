"""Grey-level images as a microscope makes them: grains of a grey value each, blurred and noisy.

Unlike the other synthetic materials these have no labels: a sample is grey values 0..255.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.micrographs.synthetic.grains import VoronoiGrains
from engine.micrographs.synthetic.grid import must_lie_within

WHITE = 255.0


@dataclass(frozen=True, kw_only=True)
class Polycrystal:
    """Poisson-Voronoi grains in orientation contrast: the grey value of a grain is drawn evenly from a range, its
    boundaries are black; then the blur of the beam and the noise of the detector."""

    phases: ClassVar[tuple[str, ...]] = ()

    diameter: float = 16.0
    """Of the disk (ball) as large as the mean grain, in voxels."""
    boundary: float = 1.5
    """Thickness of the boundaries in voxels."""
    darkest: float = 0.25
    """Grey value of the darkest grains; 1 is white."""
    brightest: float = 0.9
    blur: float = 0.7
    """Standard deviation of the point spread, in voxels."""
    noise: float = 0.03
    """Standard deviation of a pixel; 1 is white."""

    def __post_init__(self) -> None:
        self.grains()
        if not 0 <= self.darkest < self.brightest <= 1:
            raise InputError(
                f"darkest, brightest: must ascend within 0 .. 1, not {self.darkest:g} and {self.brightest:g}"
            )
        must_lie_within("blur", self.blur, 0, math.inf)
        if not 0 <= self.noise < 1:
            raise InputError(f"noise: must lie within [0, 1), not {self.noise:g}")

    def grains(self) -> VoronoiGrains:
        """The material that the image is of."""
        return VoronoiGrains(diameter=self.diameter, boundary=self.boundary)

    def sample(self, shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
        """Grey values of one sample, periodic.

        Raises:
            InputError: a shape or seed that cannot be.
        """
        from scipy.ndimage import gaussian_filter

        tessellation = self.grains().tessellation(shape, seed)
        generator = np.random.default_rng([seed, 1])
        greys = generator.uniform(self.darkest, self.brightest, len(tessellation.seeds))
        image = np.where(tessellation.boundaries(self.boundary) == 1, 0.0, greys[tessellation.grains])
        image = gaussian_filter(image, self.blur, mode="wrap") + self.noise * generator.standard_normal(image.shape)
        return np.asarray(np.round(np.clip(image, 0, 1) * WHITE).astype(np.uint8))
