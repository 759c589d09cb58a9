"""With `deterministic: true` an adaptive study has the same points whatever the pool, its order or kills."""

from pathlib import Path

import pytest

from actors.rows import Row
from engine.request import Request
from studies.config import StudyConfig
from studies.loop import run_study
from studies.storage import read_trials
from tests.studies.fakes import STUDY, FakePool, made_up_row, study
from tests.studies.test_loop_resume import run_and_die
from tests.studies.test_mapping import MAP


def noisy(request: Request) -> Row:
    """What a structure turns out to be depends on its seed, as it does in earnest."""
    row = made_up_row(request) | {"fraction_pore": 0.1 + request.seed % 97 / 300}
    return row | {"diffusivity_pore_z": 0.01 + request.seed % 89 / 900}


def config_of(sampler: str, deterministic: bool = True) -> StudyConfig:
    options = {"deterministic": str(deterministic).lower(), "window": 3} if deterministic else {}
    if sampler == "map":
        return study(MAP, trials=14, unguided=2, **options)
    return study(STUDY, sampler=sampler, trials=14, samples=1, startup_trials=3, population=4, **options)


def points(out: Path) -> list[dict[str, object]]:
    return [trial.params for trial in read_trials(out)]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "map"])
def test_the_points_are_the_same_whatever_the_pool_and_the_kills(tmp_path: Path, sampler: str) -> None:
    config = config_of(sampler)
    run_study(config, tmp_path / "one", FakePool(slots=2, per_wait=1, answer=noisy))
    run_study(config, tmp_path / "many", FakePool(slots=9, per_wait=4, answer=noisy))
    out = tmp_path / "killed"
    for at in (25, 14, 60):
        run_and_die(config, out, at, tmp_path / "log", answer=noisy)
    run_study(config, out, FakePool(slots=5, per_wait=2, answer=noisy))
    assert points(tmp_path / "one") == points(tmp_path / "many") == points(out)
    assert len({tuple(point.values()) for point in points(out)}) >= 12


def test_without_it_they_depend_on_the_order(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    config = config_of("tpe", deterministic=False)
    run_study(config, tmp_path / "one", FakePool(slots=2, per_wait=1, answer=noisy))
    run_study(config, tmp_path / "many", FakePool(slots=9, per_wait=4, answer=noisy))
    assert points(tmp_path / "one") != points(tmp_path / "many")


def test_results_are_told_in_the_order_of_asking(tmp_path: Path) -> None:
    run_study(config_of("tpe"), tmp_path, FakePool(slots=9, per_wait=4, answer=noisy))
    told = [trial.datetime_complete for trial in read_trials(tmp_path)]
    assert told == sorted(told)  # type: ignore[type-var]
