"""studies.config: study files and recipes become frozen configurations."""

import dataclasses
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.metrics import Metric
from studies.config import load_study, parse_study, recipe_names
from tests.studies.fakes import HASH, STUDY, facts, study


def test_a_study_file_is_loaded_by_path_and_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(STUDY.replace("name: toy\n", ""))
    config = load_study(path, facts)
    assert (config.name, config.shape, config.trials, config.samples) == ("mine", (8, 8, 8), 4, 2)
    assert config.objective.metric == Metric("diffusivity", "pore", "z") and config.objective.maximize
    assert config.bundle_hash == HASH
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.trials = 5  # type: ignore[misc]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name: str) -> None:
    assert load_study(name, facts).name == name


def test_the_berea_recipe_is_what_the_sweep_promises() -> None:
    config = load_study("berea_transport", facts)
    assert (config.bundle, config.shape, config.trials, config.samples) == ("berea", (64, 64, 64), 12, 1)
    assert config.sampler == "tpe" and config.startup_trials < config.trials / 2


def test_an_unknown_study_names_the_nearest_recipe() -> None:
    with pytest.raises(InputError, match="no such file and no recipe of this name; did you mean 'berea_transport'"):
        load_study("berea_transprt", facts)


@pytest.mark.parametrize(
    "text",
    [
        STUDY,
        STUDY.replace("sampler: tpe", "sampler: qmc\nsettings: {steps: 20, eta: 0.5, sampler: mpdd}"),
        STUDY.replace("size: 8", "shape: [8, 4, 6]\ntargets: ['surface_area[pore]<=0.2']"),
        STUDY.replace("low: 0.02, high: 0.06", "low: 0.5, high: 1.5, times: {0.1: 0.02, 0.3: 0.09}"),
        STUDY.replace("trials: 4\n", "").replace("tpe", "grid").replace("tolerance", "step: 0.01, tolerance"),
    ],
)
def test_the_frozen_text_is_the_same_study(text: str) -> None:
    config = parse_study(text, "toy.yaml", default_name="toy", facts=facts)
    assert parse_study(config.text(), "study.yaml", default_name="other", facts=facts) == config


def test_another_bundle_under_the_same_name_is_refused() -> None:
    text = study().text()
    with pytest.raises(InputError, match="bundle_hash: bundle 'toy_bundle' is not the one this study was made with"):
        parse_study(text, "study.yaml", default_name="toy", facts=lambda bundle: (("pore", "solid"), "0" * 64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": None}, "size: give either size or shape"),
        ({"size": 0}, "size: must be at least 1 voxel"),
        ({"shape": "[4, 4]"}, "shape: "),
        ({"seed": -1}, "seed: must lie within"),
        ({"samples": 0}, "samples: must be at least 1"),
        ({"trials": 0}, "trials: must be at least 1"),
        ({"trials": None}, "trials: is missing"),
        ({"startup_trials": 0}, "startup_trials: must be at least 1"),
        ({"sampler": "tpo"}, "no sampler is called 'tpo'; did you mean 'tpe'"),
        ({"sampler": "grid"}, "search.fraction[pore]: sampler grid needs 'values' or a 'step'"),
        ({"objective": "{}"}, "objective: give either maximize or minimize"),
        ({"objective": "{maximize: 'fraction[pores]'}"}, "did you mean 'pore'"),
        ({"constraints": "['fraction[pore]=0.2']"}, "constraints: target 'fraction[pore]=0.2'"),
        ({"constraints": "['fraction[pore]=1.4±0.1']"}, "constraints: target fraction[pore]=[1.3,1.5]: no structure"),
        ({"constraints": "['fraction[pore]<=0.1', 'diffusivity[pore,z]>=0.3']"}, "constraints: target diffusivity"),
        ({"targets": "['fraction[pore]=1.4±0.1']"}, "has a fixed target as well"),
        ({"targets": "['fraction[solid]=0.2±0.1']"}, "no point of it can be met"),
        ({"settings": "{eta: 3}"}, "settings.eta: must lie within"),
    ],
)
def test_what_cannot_be_run_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        study(**changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith("toy.yaml: ")


def test_a_search_above_the_voigt_bound_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match=r"no point of it can be met: .*Voigt bound"):
        study(STUDY.replace("low: 0.02, high: 0.06", "low: 0.4, high: 0.6"))


def test_a_multiple_needs_the_fraction() -> None:
    text = STUDY.replace("low: 0.02, high: 0.06", "low: 0.5, high: 1.5, times: {0.1: 0.02, 0.3: 0.09}")
    text = text.replace("  fraction[pore]: {low: 0.15, high: 0.25, tolerance: 0.01}\n", "")
    with pytest.raises(InputError, match=r"times: needs fraction\[pore\] among search or targets"):
        study(text)
    assert study(text, targets="['fraction[pore]=0.2±0.01']").targets


def test_a_grid_runs_every_point_and_no_more() -> None:
    text = STUDY.replace("tolerance", "step: 0.02, tolerance").replace("tpe", "grid")
    assert study(text, trials=None).trials == 6 * 3
    with pytest.raises(InputError, match="the grid has 18 points, fewer than 20"):
        study(text, trials=20)
    with pytest.raises(InputError, match="the grid has 18 points, fewer than 20"):
        dataclasses.replace(study(text, trials=None), trials=20)
