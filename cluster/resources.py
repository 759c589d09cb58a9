"""How many workers of which kind a cluster gets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.connect import Resources
from engine.errors import InputError

if TYPE_CHECKING:
    from actors.engines import EngineFactory
    from actors.pool import Pool
    from engine.properties.own import OwnProperty

CPU_BATCH = 2
"""Structures a design actor generates together on a CPU: more share no work, and every one in flight is one that an
adaptive sampler had to choose without knowing how it turned out."""
GPU_BATCH = 32
"""On a GPU, which a small batch leaves idle; halved by the actor where memory is short."""
CPU_BATCHES_IN_FLIGHT = 2
"""One is generated while the other is measured and the search thinks."""
GPU_BATCHES_IN_FLIGHT = 3
"""One more waits at the GPU, which is done too soon to wait for the driver."""
PROPERTY_ACTORS_PER_GPU = 8
"""A GPU makes a volume in a second or less, a CPU core certifies one in several."""
CORES_PER_PROPERTY_ACTOR = 4
"""Without a GPU: certifying takes a fraction of what generating takes."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Workers of a pool: numbers, what Ray reserves for each, torch threads of each."""

    device: str
    batch_size: int
    batches_in_flight: int
    design_actors: int
    property_actors: int
    cpus_per_design_actor: float
    gpus_per_design_actor: float
    cpus_per_property_actor: float
    threads_per_design_actor: int
    threads_per_property_actor: int


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """What the user may say about the workers."""

    cpus_per_actor: int | None = None
    """CPU cores of a design actor; None: all of its node. Without meaning where there are GPUs."""
    structure_timeout_s: float | None = None
    """A structure that takes longer in any step is ended and fails; None: the pool's own limit."""
    volumes: str | None = None
    """Object store for volumes and curves; None: the study's folder."""


def choose_layout(resources: Resources, cpus_per_actor: int | None = None) -> Layout:
    """One design actor per GPU; without GPUs one per `cpus_per_actor` cores, or per node. The rest measures.

    What Ray reserves is bookkeeping: it makes everything fit at once.

    Raises:
        InputError: no node has so many cores, or there are GPUs to count by.
    """
    cores = max(1, resources.cpus // max(1, resources.nodes))  # of a node
    if resources.gpus:
        if cpus_per_actor is not None:
            raise InputError(
                f"--cpus-per-actor {cpus_per_actor}: a {resources} gets a design actor per GPU; leave it out"
            )
        property_actors = max(1, min(resources.cpus - resources.gpus, PROPERTY_ACTORS_PER_GPU * resources.gpus))
        share = min(1.0, resources.cpus / (resources.gpus + property_actors))
        return Layout(
            device="cuda",
            batch_size=GPU_BATCH,
            batches_in_flight=GPU_BATCHES_IN_FLIGHT,
            design_actors=resources.gpus,
            property_actors=property_actors,
            cpus_per_design_actor=share,
            gpus_per_design_actor=1.0,
            cpus_per_property_actor=share,
            threads_per_design_actor=1,
            threads_per_property_actor=1,
        )
    threads = cores if cpus_per_actor is None else cpus_per_actor
    if not 1 <= threads <= cores:
        raise InputError(f"--cpus-per-actor {threads}: must lie within 1 and {cores}, the cores of a node here")
    design_actors_per_node = cores // threads
    property_actors_per_node = max(1, cores // CORES_PER_PROPERTY_ACTOR)
    # More than half of what it uses, in whole cores where Ray wants whole ones (above 1).
    share = 0.5 if threads == 1 else 1.0 if threads < 4 else float(threads // 2 + 1)
    left = cores - design_actors_per_node * share
    return Layout(
        device="cpu",
        batch_size=CPU_BATCH,
        batches_in_flight=CPU_BATCHES_IN_FLIGHT,
        design_actors=design_actors_per_node * resources.nodes,
        property_actors=property_actors_per_node * resources.nodes,
        cpus_per_design_actor=share,
        gpus_per_design_actor=0.0,
        cpus_per_property_actor=min(1.0, math.floor(10 * left / property_actors_per_node) / 10),
        threads_per_design_actor=threads,
        threads_per_property_actor=1,
    )


def make_pool(
    out: Path,
    resources: Resources,
    bundles: Sequence[str] = (),
    options: PoolOptions | None = None,
    properties: "Sequence[OwnProperty]" = (),
) -> "Pool":
    """The Ray pool for a study folder that the caller holds. Ray must be connected.

    Args:
        out: study folder.
        resources: what Ray offers.
        bundles: that requests will name; sent to the nodes of a cluster, which may not see the driver's files.
        options: of the user.
        properties: functions of the user's own; an actor that cannot import them ends the work. `connected` has sent
            what they are in.

    Raises:
        InputError: options that do not fit the cluster or the folder, or no such bundle.
    """
    from actors.bundle_cache import engine_of_sent, send_bundle
    from actors.engines import BundleEngine, engine_with
    from actors.places import parse_store, settle
    from actors.ray_pool import STRUCTURE_TIMEOUT_S, RayPool
    from engine.version import code_version

    options = options or PoolOptions()
    layout = choose_layout(resources, options.cpus_per_actor)
    place = settle(out.absolute(), None if options.volumes is None else parse_store(options.volumes))
    factory: EngineFactory
    if resources.local:
        factory = partial(BundleEngine, layout.device)
    else:
        factory = partial(engine_of_sent, layout.device, tuple(send_bundle(name) for name in bundles))
    if properties:
        factory = partial(engine_with, tuple(properties), factory)
    return RayPool(
        factory,
        place,
        design_actors=layout.design_actors,
        property_actors=layout.property_actors,
        batch_size=layout.batch_size,
        batches_in_flight=layout.batches_in_flight,
        cpus_per_design_actor=layout.cpus_per_design_actor,
        gpus_per_design_actor=layout.gpus_per_design_actor,
        cpus_per_property_actor=layout.cpus_per_property_actor,
        threads_per_design_actor=layout.threads_per_design_actor,
        threads_per_property_actor=layout.threads_per_property_actor,
        structure_timeout_s=options.structure_timeout_s or STRUCTURE_TIMEOUT_S,
        code_version=code_version(),
    )
