"""What a pool hosts: something that generates, measures and judges. The real one stands on `engine.design`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from actors.messages import is_out_of_memory
from engine.guidance.targets import Target
from engine.outcomes import DesignOutcome
from engine.request import Request

if TYPE_CHECKING:
    from engine.design import Generated, Measurement
    from engine.models.bundle import Bundle, Card, Phase


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


class BundleEngine:
    """The real engine. Bundles are loaded when first asked for, and kept; measuring reads cards only, no weights."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._bundles: dict[str, Bundle] = {}
        self._cards: dict[str, Card] = {}

    def card(self, bundle: str) -> "Card":
        if bundle not in self._cards:
            from engine.models.bundle import read_card

            self._cards[bundle] = read_card(bundle)
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
                made = generate([requests[index] for index in indices], self._bundle(name))
                structures.update(zip(indices, made, strict=True))
        except Exception as error:
            if is_out_of_memory(error):
                _empty_device_cache()
            raise
        return [structures[index] for index in range(len(requests))]

    def measure(self, generated: "Generated") -> "Measurement":
        from engine.design import measure

        return measure(generated.labels, self.phases(generated.request.bundle))

    def judge(self, targets: Sequence[Target], measurement: "Measurement") -> DesignOutcome:
        from engine.design import judge

        return judge(targets, measurement)

    def _bundle(self, name: str) -> "Bundle":
        if name not in self._bundles:
            from engine.models.bundle import load_bundle

            self._bundles[name] = load_bundle(name, self.device)
            self._cards[name] = self._bundles[name].card
        return self._bundles[name]


def _empty_device_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
