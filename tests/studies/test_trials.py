"""studies.trials: the trials of a study as a table."""

from pathlib import Path

from studies.folder import freeze
from studies.space import distributions
from studies.storage import open_study
from studies.trials import trials_table
from tests.studies.fakes import STUDY, study


def test_a_row_per_trial_with_params_attributes_and_violations(tmp_path: Path) -> None:
    with open_study(study(), tmp_path) as opened:
        found = opened.study
        trial = found.ask(distributions(study(), 0))
        trial.set_user_attr("achieved fraction[pore]", 0.21)
        trial.set_constraint("fraction[pore]<=0.2", 0.01)
        found.tell(trial, 0.5)
        found.ask(distributions(study(), 1))
        opened.flush()
    first, second = trials_table(tmp_path).to_pylist()
    assert (first["trial"], first["state"], first["value"], first["feasible"]) == (0, "complete", 0.5, False)
    assert first["param_fraction_pore"] == trial.params["fraction[pore]"]
    assert first["achieved_fraction_pore"] == 0.21
    assert first["violation_fraction_pore_at_most_0_2"] == 0.01
    assert first["finished"] >= first["started"] and first["started"].tzinfo is not None
    assert (second["state"], second["value"], second["feasible"], second["finished"]) == ("running", None, None, None)


def test_no_journal_is_no_trials(tmp_path: Path) -> None:
    table = trials_table(tmp_path)
    assert table.num_rows == 0 and "value" in table.column_names
    assert all(field.metadata[b"meaning"] for field in table.schema)


def test_categories_are_text(tmp_path: Path) -> None:
    text = STUDY.replace("objective", "  settings.sampler: {values: [spectral, mpdd]}\nobjective", 1)
    with open_study(study(text), tmp_path) as opened:
        trial = opened.study.ask(distributions(study(text), 0))
        opened.flush()
    assert trials_table(tmp_path)["param_settings_sampler"].to_pylist() == [trial.params["settings.sampler"]]


def test_the_front_is_marked(tmp_path: Path) -> None:
    config = study(objective=None, objectives="[{maximize: 'diffusivity[pore,z]'}, {minimize: 'fraction[pore]'}]")
    freeze(config, tmp_path)
    with open_study(config, tmp_path) as opened:
        for values, violation in (([0.5, 0.2], -1.0), ([0.4, 0.3], -1.0), ([0.4, 0.1], -1.0), ([0.9, 0.1], 1.0)):
            trial = opened.study.ask(distributions(config, 0))
            trial.set_constraint("fraction[pore]<=0.2", violation)
            opened.study.tell(trial, values)
        opened.flush()
    table = trials_table(tmp_path)
    assert table["best"].to_pylist() == [True, False, True, False]
    assert table["value"].to_pylist() == [None] * 4
