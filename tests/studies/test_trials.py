"""studies.trials: the trials of a study as a table."""

from pathlib import Path

from studies.space import distributions
from studies.storage import open_study
from studies.trials import trials_table
from tests.studies.fakes import STUDY, study


def test_a_row_per_trial_with_params_attributes_and_violations(tmp_path: Path) -> None:
    with open_study(study(), tmp_path) as found:
        trial = found.ask(distributions(study()))
        trial.set_user_attr("achieved fraction[pore]", 0.21)
        trial.set_constraint("fraction[pore]<=0.2", 0.01)
        found.tell(trial, 0.5)
        found.ask(distributions(study()))
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
    with open_study(study(text), tmp_path) as found:
        trial = found.ask(distributions(study(text)))
    assert trials_table(tmp_path)["param_settings_sampler"].to_pylist() == [trial.params["settings.sampler"]]
