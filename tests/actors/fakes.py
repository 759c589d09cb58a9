"""An engine that makes voxels from the seed in microseconds and misbehaves on request. No torch: actors start fast."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from actors.engines import EngineFactory
from engine.errors import InputError
from engine.guidance.targets import Target
from engine.metrics import Metric
from engine.outcomes import DesignOutcome, Measured, Outcome
from engine.request import Request

FRACTION = Metric("fraction", "pore")
DIFFUSIVITY = Metric("diffusivity", "pore", "z")


@dataclass(frozen=True, kw_only=True)
class FakePhase:
    name: str
    label: int
    fraction: float


@dataclass(frozen=True, kw_only=True)
class FakeCard:
    name: str
    hash: str = "c0ffee"
    voxel_size_um: float | None = 2.25
    phases: tuple[FakePhase, ...] = (
        FakePhase(name="pore", label=1, fraction=0.3),
        FakePhase(name="solid", label=2, fraction=0.7),
    )

    @property
    def training_means(self) -> dict[str, list[float]]:
        return {}


@dataclass(frozen=True, kw_only=True)
class FakeGenerated:
    request: Request
    labels: np.ndarray
    outcome: DesignOutcome = DesignOutcome.UNGUIDED
    trace: tuple[dict[str, float], ...] = ()
    wall_time_s: float = 0.25

    def __setstate__(self, state: dict[str, object]) -> None:
        """Called where a structure is unpickled; a test replaces it in the driver."""
        self.__dict__.update(state)


@dataclass(frozen=True, kw_only=True)
class FakeMeasurement:
    values: dict[Metric, Measured]
    curves: dict[str, np.ndarray]
    wall_time_s: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one structure."""

    action: Literal["raise", "input_error", "out_of_memory", "cuda_error", "kill", "hold"]
    step: Literal["generate", "measure"] = "generate"
    times: int = 10**6
    """For the first so many calls."""
    batch_above: int = 0
    """Only in batches of more than this."""
    seconds: float = 600.0
    """After which `hold` ends by itself; until then it takes as long as the fault is not lifted."""


def voxels(request: Request) -> np.ndarray:
    """Labels 1 and 2, uint8 (z, y, x): a function of the request alone."""
    generator = np.random.default_rng(request.seed)
    return (2 - (generator.random(request.shape) < 0.3)).astype(np.uint8)


class FakeEngine:
    """Deterministic voxels; faults by structure_id, read from files. Calls are logged to files, across processes."""

    device = "fake"

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def card(self, bundle: str) -> FakeCard:
        return FakeCard(name=bundle)

    def phases(self, bundle: str) -> tuple[FakePhase, ...]:
        return self.card(bundle).phases

    def generate(self, requests: Sequence[Request]) -> list[FakeGenerated]:
        self._log("batches", json.dumps([request.structure_id for request in requests]))
        for request in requests:
            self._misbehave("generate", request, len(requests))
        return [FakeGenerated(request=request, labels=voxels(request)) for request in requests]

    def measure(self, generated: FakeGenerated) -> FakeMeasurement:
        self._misbehave("measure", generated.request, 1)
        pore = generated.labels == 1
        return FakeMeasurement(
            values={
                FRACTION: Measured(value=float(pore.mean()), outcome=Outcome.MEASURED),
                DIFFUSIVITY: Measured(value=0.0, outcome=Outcome.DOES_NOT_PERCOLATE),
            },
            curves={"s2[pore]": pore.mean(axis=(1, 2)).astype(np.float32)},
        )

    def judge(self, targets: Sequence[Target], measurement: FakeMeasurement) -> DesignOutcome:
        if not targets:
            return DesignOutcome.UNGUIDED
        holds = all(target.holds(measurement.values[target.metric].value) for target in targets)
        return DesignOutcome.ATTAINED if holds else DesignOutcome.MISSED

    def _misbehave(self, step: str, request: Request, batch: int) -> None:
        path = self.scratch / f"{request.structure_id}.fault"
        if not path.exists():
            return
        fault = Fault(**json.loads(path.read_text()))
        if fault.step != step or batch <= fault.batch_above:
            return
        if self._log(f"{request.structure_id}.{step}", str(os.getpid())) > fault.times:
            return
        match fault.action:
            case "raise":
                raise RuntimeError(f"no luck with {request.structure_id}")
            case "input_error":
                raise InputError(f"{request.structure_id} cannot be used")
            case "out_of_memory":
                raise MemoryError(f"{batch} are too many")
            case "cuda_error":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hold":
                deadline = time.monotonic() + fault.seconds
                while path.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)

    def _log(self, name: str, line: str) -> int:
        """Append a line, whole, to a file; returns how many it has now."""
        with open(self.scratch / name, "a") as stream:
            stream.write(line + "\n")
        return len((self.scratch / name).read_text().splitlines())


def fake_factory(scratch: Path, faults: Mapping[str, Fault] | None = None) -> EngineFactory:
    """A picklable factory of FakeEngine."""
    scratch.mkdir(exist_ok=True)
    set_faults(scratch, **(faults or {}))
    return partial(FakeEngine, scratch)


def set_faults(scratch: Path, **faults: Fault) -> None:
    """From now on the engines of this scratch folder misbehave for these structure_ids."""
    for name, fault in faults.items():
        (scratch / f"{name}.fault").write_text(json.dumps(asdict(fault)))


def lift_fault(scratch: Path, name: str) -> None:
    """From now on nothing is wrong with this structure; what holds for it goes on."""
    (scratch / f"{name}.fault").unlink()


def failing_factory(error: Exception) -> FakeEngine:
    """For `partial(failing_factory, error)`: an engine that cannot be made."""
    raise error


def unstartable_engine(scratch: Path) -> FakeEngine:
    """For `partial(unstartable_engine, scratch)`: the first two processes die here, the others raise."""
    with open(scratch / "starts", "a") as stream:
        stream.write("start\n")
    if len((scratch / "starts").read_text().splitlines()) <= 2:
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("no driver for the device")


def batches(scratch: Path) -> list[list[str]]:
    """The `generate` calls so far: their structure_ids."""
    return [json.loads(line) for line in (scratch / "batches").read_text().splitlines()]


def is_running(pid: int) -> bool:
    """True while a process exists and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False
