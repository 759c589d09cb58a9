"""studies.report.judge: attainment and failures against counts made by hand."""

from pathlib import Path

import pytest

from engine.evaluation.proportions import wilson_interval
from engine.outcomes import Outcome
from studies.report.judge import attainment, failures, outcomes_of
from studies.report.rows import Rows
from studies.table import append_rows
from tests.studies.fakes import PHASES

TARGETS = ["fraction[pore]=[0.19,0.21]", "diffusivity[pore,z]>=0.05"]


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    asked = [
        {"structure_id": "held", "status": "attained", "fraction_pore": 0.2, "diffusivity_pore_z": 0.06},
        {"structure_id": "low", "status": "missed", "fraction_pore": 0.18, "diffusivity_pore_z": 0.04},
        {"structure_id": "closed", "status": "missed", "fraction_pore": 0.2, "diffusivity_pore_z": 0.0,
         "diffusivity_pore_z_outcome": "does_not_percolate"},
        {"structure_id": "gone", "status": "failed", "reason": "ActorDied: killed (attempt 3)",
         "error_type": "ActorDied"},
    ]  # fmt: skip
    free: list[dict[str, object]] = [{"structure_id": "free", "status": "unguided", "fraction_pore": 0.4}]
    append_rows(tmp_path, [row | {"targets": TARGETS} for row in asked] + free, PHASES)
    return Rows(tmp_path)


def test_attainment_counts_every_structure_that_was_asked(rows: Rows) -> None:
    fraction, diffusivity, together = attainment(rows)
    assert (fraction["held"], fraction["wanted"], diffusivity["held"], together["held"]) == (2, 4, 1, 1)
    assert (fraction["low"], fraction["high"]) == wilson_interval(2, 4)
    assert fraction["miss"] == pytest.approx(0.01) and diffusivity["miss"] == pytest.approx(0.03)


def test_failures_are_grouped_by_reason(rows: Rows) -> None:
    found = {(entry["kind"], entry["what"]): entry for entry in failures(rows)}
    assert set(found) == {
        ("missed", "fraction[pore] below its target"),
        ("missed", "diffusivity[pore,z] below its target"),
        ("missed", "diffusivity[pore,z]: does not percolate"),
        ("failed", "ActorDied: killed (attempt 3)"),
    }
    closed = found["missed", "diffusivity[pore,z]: does not percolate"]
    assert closed["remedy"] == Outcome.DOES_NOT_PERCOLATE.remedy and rows.ids[closed["row"]] == "closed"
    assert sum(entry["count"] for entry in found.values()) == 4


def test_outcomes_that_a_user_should_know_of(rows: Rows) -> None:
    [entry] = outcomes_of(rows)
    assert (entry["metric"], entry["outcome"], entry["count"]) == ("diffusivity[pore,z]", "does not percolate", 1)
