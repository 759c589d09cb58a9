"""Actors of one kind, kept alive: a dead one is replaced, and a circuit breaker ends that when it does not help.

`ray.util.ActorPool` does neither (ray-project/ray issues 64646 and 50313).
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray

from actors.ray_actors import Setup


@dataclass(eq=False, kw_only=True)
class Member:
    """One place in a crew; its actor changes when it is replaced, its name stays."""

    name: str
    actor: Any
    since: float
    """When the present actor was asked for, in seconds of the monotonic clock."""
    ready: bool = False
    busy: bool = False
    node: str | None = None
    pid: int | None = None


@dataclass(eq=False, kw_only=True)
class Crew:
    """`size` actors of one class, each with the same setup and resources."""

    kind: str
    actor_class: Any
    size: int
    threads: int | None
    """Torch threads of each actor."""
    resources: dict[str, float]
    """`num_cpus`, `num_gpus` of each actor."""
    max_deaths: int
    """Deaths in a row, without anything finished in between, after which the crew is given up."""
    watch: Callable[["Crew", Member, Any], None]
    """Told the reference of each new actor's `start` call."""
    setup: Setup | None = None
    members: list[Member] = field(default_factory=list)
    deaths: int = 0
    last_death: str = ""

    def start(self, setup: Setup) -> None:
        """Ask for every actor."""
        self.setup = setup
        for index in range(self.size):
            member = Member(name=f"{self.kind}-{index}", actor=None, since=0.0)
            self.members.append(member)
            self._hire(member)

    def idle(self) -> list[Member]:
        return [member for member in self.members if member.ready and not member.busy]

    def replace(self, member: Member, why: str) -> None:
        """End what is left of a member's actor and, unless the crew is given up, start a new one in its place."""
        self.deaths += 1
        self.last_death = why
        member.ready = member.busy = False
        kill(member.actor)
        if not self.given_up:
            self._hire(member)

    def progress(self) -> None:
        """An actor of this crew did its work."""
        self.deaths = 0

    @property
    def given_up(self) -> bool:
        return self.deaths >= self.max_deaths

    def overdue(self, start_timeout_s: float) -> bool:
        """No actor is ready although one has been asked for that long ago."""
        if any(member.ready for member in self.members):
            return False
        return time.monotonic() - min(member.since for member in self.members) > start_timeout_s

    def kill(self) -> None:
        for member in self.members:
            kill(member.actor)
        self.members.clear()

    def _hire(self, member: Member) -> None:
        member.node = member.pid = None
        member.since = time.monotonic()
        member.actor = self.actor_class.options(**self.resources).remote(self.setup)
        self.watch(self, member, member.actor.start.remote())


def kill(actor: Any) -> None:
    """End an actor's process at once, whatever state it is in."""
    if ray.is_initialized():
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.kill(actor, no_restart=True)
