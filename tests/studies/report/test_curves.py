"""studies.report.curves: means and bands."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.volumes import VolumeWriter
from engine.models.bundle import read_card
from engine.models.training_curves import KEY
from studies.report.curves import curve_sets, training_band
from studies.report.rows import Rows
from studies.table import append_rows
from tests.studies.fakes import PHASES


def test_mean_and_band_of_all_and_lines_of_the_best(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(21)]
    append_rows(
        tmp_path, [{"structure_id": name, "status": "unguided", "fraction_pore": 0.2} for name in names], PHASES
    )
    for number, name in enumerate(names):
        curves = {
            "s2[pore]": np.full(4 if number else 3, number / 10, np.float32),
            "s2[solid,z]": np.ones(5, np.float32),
        }
        VolumeWriter(tmp_path).write(name, np.zeros((2, 2, 2), np.uint8), None, curves)
    pore, solid = curve_sets(Rows(tmp_path), [3, 5, 7, 9], None)
    assert (pore["name"], pore["count"], solid["name"]) == ("s2[pore]", 21, "s2[solid,z]")
    assert pore["mean"] == [1.0] * 3, "as long as the shortest"
    assert pore["low"] == pytest.approx([0.1] * 3) and pore["high"] == pytest.approx([1.9] * 3)
    assert [(line["row"], line["values"][0]) for line in pore["lines"]] == [(3, 0.3), (5, 0.5), (7, 0.7)]
    assert pore["training"] is None


def test_no_curves_are_no_panels(tmp_path: Path) -> None:
    append_rows(tmp_path, [{"structure_id": "a"}], PHASES)
    assert curve_sets(Rows(tmp_path), [], None) == []


def test_the_band_of_the_bundle_goes_beside(tmp_path: Path, berea: Path) -> None:
    band = {"mean": [0.2, 0.1], "low": [0.1, 0.0], "high": [0.3, 0.2]}
    card = replace(read_card(berea), metrics={KEY: {"s2[pore]": band}})
    assert training_band(card, "s2[pore]") == band
    assert training_band(card, "s2[pore,z]") is None
    assert training_band(replace(card, metrics={}), "s2[pore]") is None
