"""studies.reading and studies.config: study files and recipes become frozen configurations."""

import dataclasses
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.metrics import Metric
from studies.config import Mode, Objective, StudyBundle
from studies.reading import load_study, parse_study, recipe_names
from tests.studies.fakes import HASH, PHASES, STUDY, facts, study


def test_a_study_file_is_loaded_by_path_and_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(STUDY.replace("name: toy\n", ""))
    config = load_study(path, facts)
    assert (config.name, config.shapes, config.budget.trials, config.samples) == ("mine", ((8, 8, 8),), 4, 2)
    assert config.objectives == (Objective(metric=Metric("diffusivity", "pore", "z"), maximize=True),)
    assert config.bundles == (StudyBundle(name="toy_bundle", hash=HASH, phases=PHASES),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 5  # type: ignore[misc]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name: str) -> None:
    phases = {"berea": PHASES, "nmc-cathode": ("pore", "nmc", "binder"), "sofc-anode": ("a", "b", "c")}
    phases |= {"separator": ("a", "b"), "fibre-composite": ("matrix", "fibre"), "carbonate": ("solid", "pore")}
    assert load_study(name, lambda bundle: (phases[bundle], HASH)).name == name


MAP = """
name: toy
bundle: toy_bundle
size: 8
trials: 40
search: {settings.eta: {low: 0, high: 1}}
map:
  fraction[pore]: {low: 0.1, high: 0.5}
  diffusivity[pore,z]: {low: 0.0, high: 0.4, cells: 4}
"""


def test_the_berea_recipe_is_what_the_sweep_promises() -> None:
    config = load_study("berea_transport", facts)
    assert (config.bundles[0].name, config.shapes, config.budget.trials, config.samples) == (
        "berea",
        ((64, 64, 64),),
        12,
        1,
    )
    assert config.sampler == "tpe" and config.startup_trials < 6


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
        STUDY.replace("bundle: toy_bundle", "bundles: [a, b]").replace("size: 8", "sizes: [8, 16]"),
        STUDY.replace("trials: 4", "hours: 1.5\nconverged: {after: 20, tolerance: 2%}").replace("tpe", "nsga3"),
        STUDY.replace("tpe", "gp\ndeterministic: true\nwindow: 4\nstorage: postgresql://me@host/db"),
        STUDY.replace("objective: {", "objectives: [{").replace('"}', '"}, {minimize: "fraction[pore]"}]', 1),
        MAP,
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
        ({"size": None}, "size: give either size, sizes or shape"),
        ({"size": 0}, "size: must be at least 1 voxel"),
        ({"shape": "[4, 4]"}, "shape: "),
        ({"seed": -1}, "seed: must lie within"),
        ({"samples": 0}, "samples: must be at least 1"),
        ({"trials": 0}, "trials: must be at least 1"),
        ({"trials": None}, "trials: is missing"),
        ({"bundles": "[a, b]"}, "bundle: give either bundle or bundles"),
        ({"bundle": None, "bundles": "[a, a]"}, "bundles: must differ"),
        ({"sizes": "[8, 16]"}, "size: give either size, sizes or shape"),
        ({"size": None, "sizes": "[8, 0]"}, "sizes: must be at least 1 voxel"),
        ({"hours": 0}, "hours: must be above 0"),
        ({"converged": "{after: 0}"}, "converged.after: must be at least 1"),
        ({"converged": "{after: 5, tolerance: 0.1}"}, "converged.tolerance: must be a percentage below 100%"),
        ({"population": 1}, "population: must be at least 2"),
        ({"deterministic": "true", "sampler": "qmc"}, "deterministic: qmc is repeatable by itself"),
        ({"unguided": 3}, "unguided: belongs to a map"),
        ({"objectives": "[{maximize: 'fraction[pore]'}]"}, "objective: give either objective or objectives"),
        ({"objective": None}, "objective: give an objective, objectives or a map"),
        ({"map": "{'fraction[pore]': {low: 0, high: 1}}", "sampler": None}, "give an objective, objectives or a map"),
        ({"name": "../escape"}, "name: must be at most 100 letters without /"),
        ({"name": ".hidden"}, "no leading dot"),
        ({"storage": "sqlite:///x.db"}, "storage: must be journal or postgresql://"),
        ({"storage": "postgresql://me:secret@host/db"}, "storage: holds a password; take it out"),
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
    assert study(text, trials=None).budget.trials == 6 * 3
    with pytest.raises(InputError, match="the grid has 18 points that can be met, fewer than 20"):
        study(text, trials=20)
    blocked = text.replace("low: 0.02, high: 0.06", "low: 0.02, high: 0.26, log: false").replace(
        "0.02, tol", "0.06, tol"
    )
    assert study(blocked, trials=None).budget.trials < 2 * 5


def test_phases_that_only_one_of_several_bundles_has_cannot_be_asked_for() -> None:
    def two(bundle: str) -> tuple[tuple[str, ...], str]:
        return (("pore", "solid") if bundle == "a" else ("solid", "binder")), HASH

    text = STUDY.replace("bundle: toy_bundle", "bundles: [a, b]")
    with pytest.raises(InputError, match="no phase is called 'pore'"):
        parse_study(text, "toy.yaml", default_name="toy", facts=two)
    config = parse_study(text.replace("pore", "solid"), "toy.yaml", default_name="toy", facts=two)
    assert config.phases == ("pore", "solid", "binder")


def test_a_map_shows_the_model_by_itself_first() -> None:
    config = parse_study(MAP, "toy.yaml", default_name="toy", facts=facts)
    assert (config.mode, config.unguided, config.map[0].cells) == (Mode.MAP, 4, 8)
    assert config.map[1].entry.tolerance.value == pytest.approx(0.05)
    with pytest.raises(InputError, match="sampler: a map has its own rule"):
        parse_study(MAP + "sampler: tpe\n", "toy.yaml", default_name="toy", facts=facts)
    with pytest.raises(InputError, match=r"map.fraction\[pore\]: must be an interval within \[0, 1\]"):
        parse_study(MAP.replace("high: 0.5", "high: 1.5"), "toy.yaml", default_name="toy", facts=facts)


def test_functions_of_the_user_s_own_are_named_and_not_run() -> None:
    """Read, frozen and read again; nothing of this name can be imported."""
    text = STUDY.replace('maximize: "diffusivity[pore,z]"', "maximize: mine").replace("fraction[pore]<=0.2", "mine<=3")
    text += "properties: {mine: no_such_models:mine}\n"
    config = parse_study(text, "mine.yaml", default_name="mine", facts=facts)
    [own] = config.properties
    assert str(own) == "mine=no_such_models:mine"
    assert config.objectives == (Objective(metric=own.metric, maximize=True),)
    assert config.constraints[0].metric == own.metric
    assert parse_study(config.text(), "study.yaml", default_name="other", facts=facts) == config
