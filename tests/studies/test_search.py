"""studies.search: ranges, tolerances and the entries of a search."""

import pytest

from engine.errors import InputError
from studies.search import Range, SettingSearch, TargetSearch, Tolerance, entry_document, search_entry
from studies.yaml_file import EntryFile

PHASES = ("pore", "solid")


def entry(key: str, **fields: object) -> TargetSearch | SettingSearch:
    return search_entry(key, EntryFile.model_validate(fields), PHASES)


def test_tolerance_is_absolute_or_in_percent_of_the_goal() -> None:
    absolute = entry("fraction[pore]", low=0.1, high=0.2, tolerance=0.01)
    percent = entry("diffusivity[pore,z]", low=0.1, high=0.2, tolerance="5 %")
    assert isinstance(absolute, TargetSearch) and isinstance(percent, TargetSearch)
    assert absolute.tolerance.margin(0.2) == 0.01
    assert percent.tolerance.margin(0.2) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("range_", "options"),
    [
        (Range(low=0.1, high=0.4, step=0.1), (0.1, 0.2, 0.30000000000000004, 0.4)),
        (Range(low=0.0, high=1.0, step=0.4), (0.0, 0.4, 0.8)),
        (Range(low=2, high=5, integer=True), (2, 3, 4, 5)),
        (Range(low=2, high=6, step=2, integer=True), (2, 4, 6)),
        (Range(values=(3.0, 1.0)), (3.0, 1.0)),
        (Range(low=0.0, high=1.0), ()),
    ],
)
def test_options_of_a_range(range_: Range, options: tuple[float, ...]) -> None:
    assert range_.options() == pytest.approx(options)


def test_a_multiple_of_the_natural_value_is_named_so() -> None:
    found = entry("diffusivity[pore,z]", low=0.7, high=1.4, tolerance="5%", times={0.25: 0.08, 0.15: 0.027})
    assert isinstance(found, TargetSearch)
    assert found.parameter == "diffusivity[pore,z] / natural"
    assert found.times == ((0.15, 0.027), (0.25, 0.08))


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("fraction[pore]", {"low": 0.1, "high": 0.2, "step": 0.05, "tolerance": 0.01}),
        ("fraction[pore]", {"values": [0.1, 0.2], "tolerance": "5.0%"}),
        ("diffusivity[pore,z]", {"low": 0.01, "high": 0.1, "log": True, "tolerance": 0.001}),
        ("diffusivity[pore,z]", {"low": 0.5, "high": 2.0, "tolerance": 0.001, "times": {0.1: 0.02, 0.2: 0.05}}),
        ("settings.steps", {"low": 20, "high": 100, "step": 20}),
        ("settings.sampler", {"values": ["spectral", "mpdd"]}),
    ],
)
def test_entry_survives_its_document(key: str, fields: dict[str, object]) -> None:
    found = entry(key, **fields)
    assert found.key == key
    assert entry_document(found) == fields
    assert entry(key, **entry_document(found)) == found


@pytest.mark.parametrize(
    ("key", "fields", "message"),
    [
        ("fraction[pore]", {"low": 0.1, "high": 0.2}, "tolerance: is missing"),
        ("fraction[pore]", {"low": 0.1, "high": 0.2, "tolerance": "x%"}, "such as 5%, not 'x%'"),
        ("fraction[pore]", {"low": 0.1, "high": 0.2, "tolerance": 0}, "must be above 0, not 0"),
        ("fraction[pore]", {"low": 0.1, "high": 0.2, "tolerance": True}, "tolerance: must be a number"),
        ("fraction[pore]", {"low": 0.2, "high": 0.1, "tolerance": 0.01}, "low: must be below high"),
        ("fraction[pore]", {"low": 0.2, "tolerance": 0.01}, "high: is missing"),
        ("fraction[pore]", {"low": 0.1, "high": 1.4, "tolerance": 0.01}, "must lie within [0, 1]"),
        ("fraction[pore]", {"values": [0.1, 1.4], "tolerance": 0.01}, "must lie within [0, 1]"),
        ("fraction[pore]", {"values": [], "tolerance": 0.01}, "values: must be a list"),
        ("fraction[pore]", {"values": [0.1, 0.1], "tolerance": 0.01}, "values: must differ"),
        ("fraction[pore]", {"values": ["a"], "tolerance": 0.01}, "values: must be numbers"),
        ("fraction[pore]", {"values": [0.1], "low": 0.1, "tolerance": 0.01}, "cannot stand together"),
        ("fraction[pore]", {"low": 0.1, "high": 0.2, "step": 0.2, "tolerance": 0.01}, "step: must lie within"),
        ("fraction[pore]", {"low": 0, "high": 0.2, "log": True, "tolerance": 0.01}, "log: needs low above 0"),
        ("fraction[pore]", {"low": 0.5, "high": 2, "tolerance": 0.01, "times": {0.1: 1, 0.2: 2}}, "times: is the nat"),
        ("diffusivity[pore,z]", {"low": 0.5, "high": 2, "tolerance": 1, "times": {0.1: 1}}, "at least two fractions"),
        ("fraction[prore]", {"low": 0.1, "high": 0.2, "tolerance": 0.01}, "did you mean 'pore'?"),
        ("fractoin[pore]", {"low": 0.1, "high": 0.2, "tolerance": 0.01}, "did you mean 'fraction'?"),
        ("settings.step", {"low": 1, "high": 2}, "did you mean 'steps'?"),
        ("settings.steps", {"low": 1.5, "high": 2}, "whole numbers"),
        ("settings.steps", {"low": 0, "high": 2}, "steps: must be at least 1"),
        ("settings.eta", {"low": 0, "high": 2}, "eta: must lie within [0, 1]"),
        ("settings.eta", {"values": ["much"]}, "cannot be used for eta"),
        ("settings.eta", {"low": 0, "high": 1, "tolerance": 1}, "neither tolerance nor times"),
    ],
)
def test_what_cannot_be_searched_is_refused(key: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        entry(key, **fields)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"search.{key}: ")


def test_tolerance_reads_back_from_its_text() -> None:
    assert str(Tolerance(value=5.0, percent=True)) == "5.0%"
