"""Replacement and its limits, with actors that are never started; the real ones are in test_ray_pool.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import ray_crew
from actors.places import Folder
from actors.ray_actors import Setup
from actors.ray_crew import Crew, Member
from tests.actors.fakes import fake_factory


class FakeActor:
    """Stands for a Ray actor class and its handles; the reference of `start` is the handle."""

    made: list[Any]

    def __init__(self) -> None:
        self.made = []
        self.options_seen: list[dict[str, Any]] = []

    def options(self, **options: Any) -> Any:
        self.options_seen.append(options)
        return SimpleNamespace(remote=self._hire)

    def _hire(self, setup: Setup) -> Any:
        handle = SimpleNamespace()
        handle.start = SimpleNamespace(remote=lambda: handle)
        self.made.append(handle)
        return handle


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    handles: list[Any] = []
    monkeypatch.setattr(ray_crew, "kill", handles.append)
    return handles


@pytest.fixture
def started() -> list[tuple[Member, Any]]:
    return []


@pytest.fixture
def crew(tmp_path: Path, killed: list[Any], started: list[tuple[Member, Any]]) -> Crew:
    made = Crew(
        kind="design",
        actor_class=FakeActor(),
        size=2,
        max_size=3,
        threads=None,
        resources={"num_cpus": 0.5},
        max_deaths=3,
        max_member_deaths=5,
        max_barren=2,
        watch=lambda crew, member, reference: started.append((member, reference)),
    )
    factory = fake_factory(tmp_path / "scratch")
    made.start(Setup(engine_factory=factory, place=Folder(tmp_path), token="t", threads=None, code_version="test"))
    return made


def test_every_member_is_asked_for_with_its_resources(crew: Crew, started: list[tuple[Member, Any]]) -> None:
    assert [member.name for member in crew.members] == ["design-0", "design-1"]
    assert [member for member, _ in started] == crew.members
    assert crew.actor_class.options_seen == [{"num_cpus": 0.5, "scheduling_strategy": "SPREAD"}] * 2


def test_only_ready_members_without_work_are_idle(crew: Crew) -> None:
    assert crew.idle() == []
    for member in crew.members:
        member.ready = True
    crew.members[0].calls.append(SimpleNamespace())  # type: ignore[arg-type]
    assert crew.idle() == [crew.members[1]]


def test_a_replaced_member_is_killed_and_asked_for_anew(
    crew: Crew, killed: list[Any], started: list[tuple[Member, Any]]
) -> None:
    member, old = crew.members[0], crew.members[0].actor
    member.ready, member.pid, member.node = True, 1, "here"
    crew.replace(member, "why")
    assert killed == [old]
    assert member.actor is not old
    assert (member.ready, member.pid, member.node) == (False, None, None)
    assert started[-1] == (member, member.actor)


def test_deaths_in_a_row_give_the_crew_up_but_progress_forgives(crew: Crew) -> None:
    for _ in range(2):
        crew.replace(crew.members[0], "one")
        crew.replace(crew.members[1], "two")
        assert not crew.given_up
        crew.progress(crew.members[0])
    for _ in range(3):
        crew.replace(crew.members[0], "three")
    assert crew.given_up
    assert crew.last_death == "three"
    asked = len(crew.actor_class.made)
    crew.replace(crew.members[1], "four")
    assert len(crew.actor_class.made) == asked  # no more


def test_a_crew_is_overdue_while_nobody_is_ready(crew: Crew) -> None:
    assert not crew.overdue(60.0)
    assert crew.overdue(-1.0)
    crew.members[1].ready = True
    assert not crew.overdue(-1.0)


def test_ending_the_crew_kills_everyone_once(crew: Crew, killed: list[Any]) -> None:
    actors = [member.actor for member in crew.members]
    crew.kill()
    crew.kill()
    assert killed == actors
    assert crew.idle() == []


def test_a_member_whose_actors_only_die_is_retired_while_others_work(crew: Crew, started: list[Any]) -> None:
    bad, good = crew.members
    good.ready = True
    for _ in range(5):
        assert not bad.retired
        crew.replace(bad, "broken node")
        crew.progress(good)
    assert bad.retired and not crew.given_up
    asked = len(crew.actor_class.made)
    crew.grow()
    assert len(crew.members) == 3 and len(crew.actor_class.made) == asked + 1  # a place of its own for the next one
    for member in (good, crew.members[2]):
        member.retired = True
    assert crew.given_up


def test_an_actor_whose_calls_bring_nothing_is_found_out(crew: Crew) -> None:
    member = crew.members[0]
    assert not crew.fruitless(member)
    crew.progress(member)
    assert not crew.fruitless(member)
    assert crew.fruitless(member)
    crew.replace(member, "nothing works there")
    assert not crew.fruitless(member)  # the new one starts afresh


def test_a_crew_grows_by_one_at_a_time_up_to_its_limit(crew: Crew) -> None:
    crew.grow()
    assert len(crew.members) == 2  # the first two are starting
    for member in crew.members:
        member.ready = True
    for _ in range(3):
        crew.grow()
        crew.members[-1].ready = True
    assert [member.name for member in crew.members] == ["design-0", "design-1", "design-2"]
