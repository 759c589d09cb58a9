"""The networks as the samplers want them: a plane denoiser and a codec between phases and latents.

Networks run on chunks of fixed size, the last one padded, in bfloat16 where the processor has it: so a plane's result
does not depend on what else is in the batch.

Shapes: `P` planes, `C` latent channels, `K` phases, `H W` pixels, `h w` latent pixels.
"""

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from engine.memory import chunk_planes, planes_at_once
from engine.models.bundle import Bundle
from engine.models.condition import NOTHING, Condition
from engine.models.losses import clean_of
from engine.models.training import autocast
from engine.parallel import single_threads
from engine.sampling.multiplane import PlaneDenoiser
from engine.sampling.refine import OPEN, Border

_Module = TypeVar("_Module", bound=nn.Module)

JOINED = 4
"""Latent pixels of the other side around the planes of a periodic volume: what a network sees of its border, nearly."""


def in_chunks(function: Callable[..., Tensor], planes: Tensor, chunk: int, workers: int, *others: Tensor) -> Tensor:
    """Apply `function` to chunks of exactly `chunk` planes; the last is padded with zeros and cut back. `others`, as
    many planes each, are cut alike and given with them.

    On a CPU each chunk runs on one thread of its own, `workers` at once: nothing waits for anything within a layer, and
    the result does not depend on the number of threads.
    """
    parts = [_cut(each, chunk) for each in (planes, *others)]
    done = _workers(workers).map(function, *parts) if planes.device.type == "cpu" else map(function, *parts)
    return torch.cat(list(done))[: planes.shape[0]]


def _cut(planes: Tensor, chunk: int) -> list[Tensor]:
    parts = list(planes.split(chunk))  # type: ignore[no-untyped-call]
    missing = chunk - parts[-1].shape[0]
    if missing:
        parts[-1] = torch.cat([parts[-1], planes.new_zeros(missing, *planes.shape[1:])])
    return parts


@lru_cache(maxsize=4)
def _workers(count: int) -> ThreadPoolExecutor:
    return single_threads(count)


class Inference:
    """A bundle's networks, ready for sampling and guidance. On a CPU they run on as many threads as torch has now."""

    def __init__(self, bundle: Bundle) -> None:
        self.workers = torch.get_num_threads()
        self.device, self.schedule, self.factor = bundle.device, bundle.schedule, bundle.factor
        self.channels = bundle.card.autoencoder.latent_channels
        reduced = not isinstance(autocast(bundle.device), torch.autocast)
        self.dtype = torch.float32 if reduced else torch.bfloat16
        self._denoiser = _cast(bundle.denoiser, self.dtype)
        self._lines = None if bundle.lines is None else _cast(bundle.lines, self.dtype)
        self._codec = bundle.autoencoder
        # In pixel space decoding takes no time, and eight bits of a grey value would be lost.
        self._decoder_dtype = self.dtype if bundle.factor > 1 else torch.float32
        self._decoder = _cast(bundle.autoencoder, self._decoder_dtype)
        self._prediction = bundle.card.denoiser.prediction
        self._phases, self._step = len(bundle.card.phases), 1 << bundle.card.denoiser.halvings
        self._planes: int | None = None

    def of_single_planes(self) -> "Inference":
        """The same networks, one plane a call: for what moves plane after plane, where padding would be the work."""
        single = copy.copy(self)
        single._planes = 1
        return single

    @property
    def has_lines(self) -> bool:
        """Whether the bundle has a network of lines."""
        return self._lines is not None

    def border(self, periodic: bool) -> Border:
        """How planes at full resolution are redrawn: sides that join get a margin that the network can halve."""
        return Border(margin=math.ceil(JOINED / self._step) * self._step, offset=True) if periodic else OPEN

    def planes_at_once(self, shape: Sequence[int]) -> int:
        """How many planes of a volume of this shape, in voxels, to work on at once; it changes no result."""
        depth, height, width = shape
        return planes_at_once((depth, height, width), self._phases, self.factor, self.device)

    def _chunk(self, h: int, w: int) -> int:
        return self._planes or chunk_planes(self.device, h, w)

    @torch.no_grad()
    def denoise(self, planes: Tensor, abar: float, axis: int | None = None) -> Tensor:
        """Clean estimate of noisy latent planes [P, C, h, w] float32.

        Args:
            planes, abar: as `PlaneDenoiser`.
            axis: that the planes are across; a network that was not trained with planes told apart ignores it.
        """
        return self.estimate(planes, abar, NOTHING if axis is None else Condition(plane=torch.tensor([axis])))[0]

    def told(self, descriptors: Tensor | None, weight: float = 1.0) -> PlaneDenoiser:
        """The denoiser of a batch of volumes that is told something of each.

        Args:
            descriptors: [B, 3, D] of the planes of each of B volumes across z, y and x; normalised, NaN not told.
            weight: as of `estimate`; weighs all that is told against nothing.
        """

        def denoise(planes: Tensor, abar: float, axis: int) -> Tensor:
            values = None
            if descriptors is not None:
                values = descriptors[:, axis].repeat_interleave(planes.shape[0] // descriptors.shape[0], dim=0)
            return self.estimate(planes, abar, Condition(plane=torch.tensor([axis]), descriptors=values), weight)[0]

        return denoise

    @torch.no_grad()
    def estimate(
        self, planes: Tensor, abar: float, condition: Condition = NOTHING, weight: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Clean estimate of noisy latent planes, and where the variance of an ancestral step lies between its bounds.

        Args:
            planes: [P, C, h, w] float32.
            abar: their noise level.
            condition: one for all planes, [1] each; of descriptors one for each plane, [P, D], is possible too.
            weight: omega of classifier-free guidance, omega eps(x, y) + (1 - omega) eps(x) (Ho & Salimans 2022 in the
                anisotropic paper's notation); what is linear in eps at one noise level is so in the clean estimate.

        Returns:
            [P, C, h, w], and the same within 0..1, None where the network did not learn it.
        """
        channels, chunk = planes.shape[1], self._chunk(*planes.shape[-2:])
        time = torch.full((chunk,), self.schedule.time_of(abar), device=planes.device)

        def ask(known: Condition) -> Tensor:
            told, each = known.repeated(chunk), known.descriptors
            if each is None or len(each) == 1:
                return in_chunks(
                    lambda part: self._denoiser(part.to(self.dtype), time, told).float(), planes, chunk, self.workers
                )

            def answer(part: Tensor, values: Tensor) -> Tensor:
                given = replace(told, descriptors=values)
                return self._denoiser(part.to(self.dtype), time, given).float()  # type: ignore[no-any-return]

            return in_chunks(answer, planes, chunk, self.workers, each.to(planes.device))

        predicted = ask(condition)
        clean = clean_of(self._prediction, planes, predicted[:, :channels], abar)
        if weight != 1:
            clean = weight * clean + (1 - weight) * clean_of(self._prediction, planes, ask(NOTHING)[:, :channels], abar)
        return clean, (predicted[:, channels:] + 1) / 2 if predicted.shape[1] > channels else None

    @torch.no_grad()
    def lines(self, lines: Tensor, abar: float, axis: int) -> Tensor:
        """Clean estimate of noisy lines of latents [N, C, L] float32, all along `axis`; the bundle must have a network
        of them."""
        network = self._lines
        assert network is not None
        chunk = self._chunk(lines.shape[-1], lines.shape[-1]) * lines.shape[-1]  # of as many pixels as of planes
        time = torch.full((chunk,), self.schedule.time_of(abar), device=lines.device)
        along = torch.full((chunk,), axis, device=lines.device)

        def answer(part: Tensor) -> Tensor:
            return network(part.to(self.dtype), time, along).float()  # type: ignore[no-any-return]

        return clean_of("v", lines, in_chunks(answer, lines, chunk, self.workers), abar)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latent planes [P, C, h, w] -> phase probabilities [P, K, H, W], float32."""
        chunk = self._chunk(*latents.shape[-2:])
        return in_chunks(
            lambda part: self._decoder.decode(part.to(self._decoder_dtype)).float(), latents, chunk, self.workers
        )

    def decode_pullback(self, latents: Tensor, cotangents: Tensor) -> Tensor:
        """Derivatives of sum(cotangent * decode(latents)) by the latents, for several cotangents at once.

        Chunk by chunk, each decoded anew, so that nothing of a whole volume is kept for the way back.

        Args:
            latents: [P, C, h, w] float32.
            cotangents: [T, P, K, H, W].

        Returns:
            [T, P, C, h, w] float32.
        """

        def derivatives(part: Tensor, given: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = part.to(self._decoder_dtype).requires_grad_(True)
                decoded = self._decoder.decode(leaf)
            asked = given.to(self._decoder_dtype).unbind(1)
            found = [torch.autograd.grad(decoded, leaf, each, retain_graph=True)[0] for each in asked]
            return torch.stack(found, dim=1).float()

        chunk = self._chunk(*latents.shape[-2:])
        out = in_chunks(derivatives, latents, chunk, self.workers, cotangents.movedim(0, 1).contiguous())
        return out.movedim(1, 0)

    @torch.no_grad()
    def encode(self, probabilities: Tensor) -> Tensor:
        """Phase probabilities [P, K, H, W] -> normalised latents [P, C, h, w], float32.

        Never in reduced precision: the latents are local fractions, and what they differ by counts.
        """
        h, w = (size // self.factor for size in probabilities.shape[-2:])
        return in_chunks(self._codec.encode, probabilities, self._chunk(h, w), self.workers)


def _cast(model: _Module, dtype: torch.dtype) -> _Module:
    return copy.deepcopy(model).to(dtype).eval().requires_grad_(False)
