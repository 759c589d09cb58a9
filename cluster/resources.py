"""How many workers of which kind a cluster gets."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.connect import Resources

if TYPE_CHECKING:
    from actors.pool import Pool

CPU_BATCH = 2
"""Structures a design actor generates together on a CPU: more share no work, and every one in flight is one that an
adaptive sampler had to choose without knowing how it turned out."""
GPU_BATCH = 32
"""On a GPU, which a small batch leaves idle; halved by the actor where memory is short."""
PROPERTY_ACTORS_PER_GPU = 8
"""A GPU makes a volume in a second or less, a CPU core certifies one in several."""
CORES_PER_PROPERTY_ACTOR = 4
"""Without a GPU: certifying takes a fraction of what generating takes."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Workers of a pool: numbers, what Ray reserves for each, torch threads of each."""

    device: str
    batch_size: int
    design_actors: int
    property_actors: int
    cpus_per_design_actor: float
    gpus_per_design_actor: float
    cpus_per_property_actor: float
    threads_per_design_actor: int
    threads_per_property_actor: int


def choose_layout(resources: Resources) -> Layout:
    """One design actor per GPU; without GPUs one per node that uses all its cores. The rest measures.

    What Ray reserves is bookkeeping: it makes everything fit at once, and keeps two design actors off one CPU node.
    """
    cores = max(1, resources.cpus // max(1, resources.nodes))  # of a node
    if resources.gpus:
        property_actors = max(1, min(resources.cpus - resources.gpus, PROPERTY_ACTORS_PER_GPU * resources.gpus))
        share = min(1.0, resources.cpus / (resources.gpus + property_actors))
        return Layout(
            device="cuda",
            batch_size=GPU_BATCH,
            design_actors=resources.gpus,
            property_actors=property_actors,
            cpus_per_design_actor=share,
            gpus_per_design_actor=1.0,
            cpus_per_property_actor=share,
            threads_per_design_actor=1,
            threads_per_property_actor=1,
        )
    property_actors_per_node = max(1, cores // CORES_PER_PROPERTY_ACTOR)
    # More than half of a node, in whole cores where Ray wants whole ones (above 1).
    design_share = 0.5 if cores == 1 else 1.0 if cores < 4 else float(cores // 2 + 1)
    return Layout(
        device="cpu",
        batch_size=CPU_BATCH,
        design_actors=resources.nodes,
        property_actors=property_actors_per_node * resources.nodes,
        cpus_per_design_actor=design_share,
        gpus_per_design_actor=0.0,
        cpus_per_property_actor=min(1.0, math.floor(10 * (cores - design_share) / property_actors_per_node) / 10),
        threads_per_design_actor=cores,
        threads_per_property_actor=1,
    )


def make_pool(out: Path, resources: Resources) -> "Pool":
    """The Ray pool for a study folder. Ray must be connected."""
    from actors.engines import BundleEngine
    from actors.ray_pool import RayPool
    from engine.version import code_version

    layout = choose_layout(resources)
    return RayPool(
        partial(BundleEngine, layout.device),
        out,
        design_actors=layout.design_actors,
        property_actors=layout.property_actors,
        batch_size=layout.batch_size,
        cpus_per_design_actor=layout.cpus_per_design_actor,
        gpus_per_design_actor=layout.gpus_per_design_actor,
        cpus_per_property_actor=layout.cpus_per_property_actor,
        threads_per_design_actor=layout.threads_per_design_actor,
        threads_per_property_actor=layout.threads_per_property_actor,
        code_version=code_version(),
    )
