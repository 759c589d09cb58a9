"""Actors of one kind, kept alive: a dead one is replaced, and circuit breakers end that when it does not help.

`ray.util.ActorPool` does neither (ray-project/ray issues 64646 and 50313).
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray

from actors.ray_actors import Setup
from actors.ray_calls import Call


@dataclass(eq=False, kw_only=True)
class Member:
    """One place in a crew; its actor changes when it is replaced, its name stays."""

    name: str
    actor: Any
    since: float
    """When the present actor was asked for, in seconds of the monotonic clock."""
    ready: bool = False
    calls: list[Call] = field(default_factory=list)
    """Of the present actor, unanswered, in the order in which they run."""
    node: str | None = None
    pid: int | None = None
    bundle: str | None = None
    """The bundle of its latest work: it is loaded there."""
    deaths: int = 0
    """Actors lost in a row here, without anything finished in between."""
    barren: int = 0
    """Calls in a row of the present actor in which nothing succeeded."""
    proven: bool = False
    """Whether a call of the present actor has been answered."""
    retired: bool = False
    """Given up: its actors only died while those of others may work."""


@dataclass(eq=False, kw_only=True)
class Crew:
    """Actors of one class, each with the same setup and resources."""

    kind: str
    actor_class: Any
    size: int
    """Actors at the start."""
    max_size: int
    """Actors that `grow` may bring it to."""
    threads: int | None
    """Torch threads of each actor."""
    resources: dict[str, float]
    """`num_cpus`, `num_gpus` of each actor."""
    max_deaths: int
    """Deaths in a row, without anything finished in between, after which the crew is given up."""
    max_member_deaths: int
    """The same for one member, which is then retired."""
    max_barren: int
    """Calls in a row without a success after which an actor is replaced: its device or node may be broken."""
    watch: Callable[["Crew", Member, Any], None]
    """Told the reference of each new actor's `start` call."""
    setup: Setup | None = None
    members: list[Member] = field(default_factory=list)
    deaths: int = 0
    last_death: str = ""

    def start(self, setup: Setup) -> None:
        """Ask for the actors."""
        self.setup = setup
        for _ in range(self.size):
            self._add()

    def grow(self) -> None:
        """One actor more, unless there are enough or one is still starting."""
        if len(self.members) < self.max_size and all(member.ready or member.retired for member in self.members):
            self._add()

    def ready(self) -> list[Member]:
        return [member for member in self.members if member.ready]

    def idle(self) -> list[Member]:
        return [member for member in self.ready() if not member.calls]

    def replace(self, member: Member, why: str) -> None:
        """End what is left of a member's actor and, unless member or crew are given up, start a new one there."""
        self.deaths += 1
        member.deaths += 1
        self.last_death = why
        member.ready = False
        member.calls = []
        kill(member.actor)
        if member.deaths >= self.max_member_deaths:
            member.retired = True
        elif not self.given_up:
            self._hire(member)

    def progress(self, member: Member) -> None:
        """A member's actor did its work."""
        self.deaths = member.deaths = member.barren = 0
        member.proven = True

    def fruitless(self, member: Member) -> bool:
        """A member's actor answered, and nothing succeeded. True: it is time to replace it."""
        member.barren += 1
        return member.barren >= self.max_barren

    @property
    def given_up(self) -> bool:
        return self.deaths >= self.max_deaths or (bool(self.members) and all(m.retired for m in self.members))

    def overdue(self, start_timeout_s: float) -> bool:
        """No actor is ready although one has been asked for that long ago."""
        if not self.members or self.ready():
            return False
        return time.monotonic() - min(m.since for m in self.members if not m.retired) > start_timeout_s

    def kill(self) -> None:
        for member in self.members:
            kill(member.actor)
        self.members.clear()

    def _add(self) -> None:
        member = Member(name=f"{self.kind}-{len(self.members)}", actor=None, since=0.0)
        self.members.append(member)
        self._hire(member)

    def _hire(self, member: Member) -> None:
        member.node = member.pid = member.bundle = None
        member.barren, member.proven = 0, False
        member.since = time.monotonic()
        member.actor = self.actor_class.options(scheduling_strategy="SPREAD", **self.resources).remote(self.setup)
        self.watch(self, member, member.actor.start.remote())


def kill(actor: Any) -> None:
    """End an actor's process at once, whatever state it is in."""
    if ray.is_initialized():
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.kill(actor, no_restart=True)
