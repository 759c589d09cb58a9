"""What a pool hosts: something that generates, measures and judges. The real one stands on `engine.design`."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from actors.messages import is_out_of_memory
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome
from engine.request import Request

if TYPE_CHECKING:
    from engine.design import Generated, Measurement
    from engine.models.bundle import Bundle, Card, Phase
    from engine.models.inference import Inference
    from engine.properties.own import OwnProperty


class DesignEngine(Protocol):
    """The science as a pool sees it. A pool takes a picklable factory of it, and calls it where the work runs."""

    device: str
    """Device that generates, such as `cpu` or `cuda:0`; stored with every row."""

    def card(self, bundle: str) -> "Card":
        """Card of a bundle given by name or path. Raises InputError where there is none."""
        ...

    def phases(self, bundle: str) -> Sequence["Phase"]:
        """Phases of a bundle."""
        ...

    def generate(self, requests: Sequence[Request]) -> "list[Generated]":
        """One structure per request, in their order; the voxels depend on the request alone."""
        ...

    def measure(self, generated: "Generated") -> "Measurement":
        """Certified descriptors and properties of one structure."""
        ...

    def judge(self, targets: Sequence[Target], measurement: "Measurement") -> DesignOutcome:
        """Whether the measured values hold every target."""
        ...


EngineFactory = Callable[[], DesignEngine]


def engine_with(properties: "Sequence[OwnProperty]", factory: EngineFactory) -> DesignEngine:
    """For `partial(engine_with, properties, factory)`: the engine of a process that has the user's own functions.

    Raises:
        InputError: one of them cannot be imported there.
    """
    for own in properties:
        own.load()
    return factory()


class BundleEngine:
    """The real engine. Bundles are loaded when first asked for; measuring reads cards only, no weights.

    As many bundles stay loaded as fit into a share of the memory; the least recently used one makes room.

    Args:
        device: torch device that generates.
        folders: where bundles lie on this machine, by the name that requests use; others are looked up by that name.
        memory_bytes: for loaded bundles; None takes a quarter of what the device has. One bundle is always kept.
    """

    def __init__(
        self, device: str = "cpu", folders: Mapping[str, Path] | None = None, memory_bytes: int | None = None
    ) -> None:
        self.device = device
        self._folders = dict(folders or {})
        self._memory_bytes = memory_bytes
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()  # least recently used first
        self._cards: dict[str, Card] = {}

    def card(self, bundle: str) -> "Card":
        if bundle not in self._cards:
            from engine.models.bundle import read_card

            self._cards[bundle] = read_card(self._folders.get(bundle, bundle))
        return self._cards[bundle]

    def phases(self, bundle: str) -> Sequence["Phase"]:
        return self.card(bundle).phases

    def generate(self, requests: Sequence[Request]) -> "list[Generated]":
        """One batch per bundle, in the order of the requests."""
        from engine.design import generate

        batches: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            batches.setdefault(request.bundle, []).append(index)
        structures: dict[int, Generated] = {}
        try:
            for name, indices in batches.items():
                loaded = self._load(name)
                members = [requests[index] for index in indices]
                made = generate(members, loaded.bundle, inference=loaded.inference)
                structures.update(zip(indices, made, strict=True))
        except Exception as error:
            if is_out_of_memory(error):
                _empty_device_cache()
            raise
        return [structures[index] for index in range(len(requests))]

    def measure(self, generated: "Generated") -> "Measurement":
        from engine.design import measure_structure

        return measure_structure(generated.labels, generated.request, self.card(generated.request.bundle))

    def judge(self, targets: Sequence[Target], measurement: "Measurement") -> DesignOutcome:
        from engine.design import judge

        return judge(targets, measurement)

    def _load(self, name: str) -> "_Loaded":
        if name not in self._loaded:
            from engine.models.bundle import load_bundle
            from engine.models.inference import Inference

            bundle = load_bundle(self._folders.get(name, name), self.device)
            memory_bytes = 2 * bundle.memory_bytes  # at most: inference runs on a copy
            self._make_room(memory_bytes)
            self._loaded[name] = _Loaded(bundle=bundle, inference=Inference(bundle), memory_bytes=memory_bytes)
            self._cards[name] = bundle.card
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _make_room(self, wanted_bytes: int) -> None:
        """Drop bundles, the least recently used first, until another one of `wanted_bytes` fits."""
        if self._memory_bytes is None:
            self._memory_bytes = _device_memory_bytes(self.device) // 4
        while self._loaded and sum(each.memory_bytes for each in self._loaded.values()) + wanted_bytes > (
            self._memory_bytes
        ):
            self._loaded.popitem(last=False)
            _empty_device_cache()


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A bundle that is ready for work."""

    bundle: "Bundle"
    inference: "Inference"
    memory_bytes: int


def _device_memory_bytes(device: str) -> int:
    if device == "cpu":
        from engine.micrographs.files import available_memory_bytes

        return available_memory_bytes()
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory)


def _empty_device_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
