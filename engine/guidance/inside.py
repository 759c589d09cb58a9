"""Guidance inside the sampler: each clean estimate is moved towards the targets before the solver steps towards it.

The estimate of the latent volume is decoded through the planes of one axis, a third of the work of a whole decode. The
targets are evaluated there by the same table as for guidance on the volume, and moved by the same Gauss-Newton steps on
the phases. What these steps changed is encoded along the three axes and added to the estimate. As in reconstruction
guidance (Ho et al., Video Diffusion Models, 2022; Chung et al., DPS, ICLR 2023) it is the clean estimate that is
steered, but by the smallest change that meets the targets instead of a weighted descent, and no gradient goes through
the denoiser.

Shapes: `B` volumes, `C` latent channels, `K` phases, `d h w` latent space, `D H W` voxels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.guidance.walk import Walk
from engine.sampling.planes import to_planes, to_volume
from engine.sampling.refine import Codec, stretch

FROM = 0.1  # alpha-bar: before, the estimate is a blur whose phases say little about the volume
STEPS = 2  # Gauss-Newton steps on each estimate


class SamplerGuidance:
    """Moves the clean estimates of a batch (`engine.sampling.multiplane.CleanHook`).

    Args:
        walks: of the volumes, by number, that have targets.
        codec: between phases and latents.
        correlations: of neighbouring latents, [C] or [C, 3], as for `decode_volume`.
    """

    def __init__(self, walks: Mapping[int, Walk], codec: Codec, correlations: Tensor | None = None) -> None:
        self._walks, self._codec, self._correlations = walks, codec, correlations

    def __call__(self, clean: Tensor, axis: int, abar: float) -> Tensor:
        """[B, C, d, h, w] -> the same, with the volumes that have targets moved."""
        if abar < FROM or not self._walks:
            return clean
        which = sorted(self._walks)
        before = self._decode(clean[which], axis)
        after = torch.stack([self._walked(self._walks[i], p) for i, p in zip(which, before, strict=True)])
        moved = clean.clone()
        moved[which] += self._encode(after) - self._encode(before)
        return moved

    @staticmethod
    def _walked(walk: Walk, probabilities: Tensor) -> Tensor:
        for _ in range(STEPS):
            probabilities = walk.step(probabilities)
        return probabilities

    def _decode(self, latents: Tensor, axis: int) -> Tensor:
        """[B, C, d, h, w] -> [B, K, D, H, W], through the planes across one axis alone."""
        known = self._correlations
        along = known[:, axis] if known is not None and known.ndim == 2 else known
        planes = to_planes(stretch(latents, axis, self._codec.factor, along), axis)
        return to_volume(self._codec.decode(planes), axis, latents.shape[0])

    def _encode(self, probabilities: Tensor) -> Tensor:
        """[B, K, D, H, W] -> [B, C, d, h, w]: every plane encoded, mean of each slab, mean of the three axes."""
        out = []
        for axis in range(3):
            deep = to_volume(self._codec.encode(to_planes(probabilities, axis)), axis, probabilities.shape[0])
            sides = [*deep.shape[: 2 + axis], -1, self._codec.factor, *deep.shape[3 + axis :]]
            out.append(deep.reshape(sides).mean(dim=3 + axis))
        return torch.stack(out).mean(dim=0)
