"""engine.properties.own: what a user's own function must be, and that it is called and nothing else is."""

import pytest
import torch

from engine.errors import InputError, WorkError
from engine.guidance.targets import parse_target
from engine.metrics import Metric, all_metrics, own_metrics, parse_metric
from engine.outcomes import Measured, Outcome
from engine.properties.own import OwnProperty, check_properties, named, parse_property, sources, spelled

HOT = torch.nn.functional.one_hot(torch.arange(27).reshape(3, 3, 3) % 2, 2).movedim(-1, 0).float()


def share(phases):
    return phases[0].mean()


def test_a_metric_takes_its_name_instead_of_a_phase():
    own = OwnProperty(name="my_share", function=share)
    assert own.metric == parse_metric("property[my_share]", ("pore", "solid"))
    assert own.metric.column == "property_my_share" and "my_share" in own.metric.meaning
    assert own.metric not in all_metrics(("my_share", "b"))
    assert own_metrics(["seed", "property_my_share", "property_my_share_outcome"]) == [own.metric]


def test_targets_may_say_its_name_alone():
    own = named({"my_share": share, "my_share_2": share})
    for text, wanted in {
        "my_share=0.3±1%": "property[my_share]=0.3±1%",
        "my_share_2>=0.3": "property[my_share_2]>=0.3",
        "maximize my_share": "maximize property[my_share]",
        "fraction[pore]=0.2±0.01": "fraction[pore]=0.2±0.01",
        "property[my_share]<=1": "property[my_share]<=1",
    }.items():
        assert spelled(text, own) == wanted
        parse_target(spelled(text, own), ("pore", "solid"))


def test_the_finished_volume_is_measured_by_the_same_function():
    assert OwnProperty(name="a", function=share).measured(HOT) == Measured(
        value=pytest.approx(14 / 27), outcome=Outcome.MEASURED
    )
    endless = OwnProperty(name="a", function=lambda phases: phases.sum() / 0)
    assert endless.measured(HOT) == Measured(value=None, outcome=Outcome.NOT_FINITE)


def test_a_path_is_imported_when_it_is_called_and_not_before(tmp_path, monkeypatch):
    (tmp_path / "their_models.py").write_text(
        "import pathlib\npathlib.Path('ran').touch()\ndef share(phases):\n    return phases[0].mean()\nother = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    own = parse_property("my_share=their_models:share")
    assert str(own) == "my_share=their_models:share" and not (tmp_path / "ran").exists()
    assert float(own(HOT)) == pytest.approx(14 / 27) and (tmp_path / "ran").exists()
    with pytest.raises(InputError, match="their_models:other is a int, not a function"):
        parse_property("b=their_models:other").load()
    with pytest.raises(InputError, match=r"cannot be imported .*put the folder of no_such on PYTHONPATH"):
        parse_property("b=no_such.place:f").load()


def test_sources_are_the_users_own_files_and_packages(tmp_path, monkeypatch):
    (tmp_path / "one_file.py").write_text("raise RuntimeError('is looked for, not run')")
    (tmp_path / "whole" / "deep").mkdir(parents=True)
    (tmp_path / "whole" / "__init__.py").write_text("")
    (tmp_path / "parts" / "deep").mkdir(parents=True)  # a package without a file of its own
    monkeypatch.syspath_prepend(tmp_path)
    paths = (
        "one_file:f",
        "one_file:g",
        "whole.deep.models:f",
        "parts.deep:f",
        "torch:mean",
        "engine.measure:measure",
        "no_such:f",
    )
    properties = [*named({f"p{number}": path for number, path in enumerate(paths)}), *named({"mine": share})]
    assert sources(properties) == [tmp_path / name for name in ("one_file.py", "whole", "parts")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("my_share", "must be NAME=MODULE:FUNCTION"),
        ("My=a:b", "must be lower-case letters"),
        ("fraction=a:b", "is a metric of the engine"),
        ("mine=/tmp/models.py", "is no import path"),
        ("mine=models", "is no import path"),
    ],
)
def test_what_is_no_property_is_refused(text, says):
    with pytest.raises(InputError, match=says):
        parse_property(text)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda phases: float(phases[0].detach().mean()), "must return one number as a tensor, not float"),
        (lambda phases: phases.mean(dim=0), r"not a tensor of shape \[32, 32, 32\]"),
        (lambda phases: phases.detach()[0].mean(), "does not depend on the phases in a way that torch can"),
        (lambda phases: (phases[0].mean() - phases[0].mean()).sqrt(), "its gradient is not finite"),
        (lambda phases: phases[5].mean(), "its function failed .IndexError"),
    ],
    ids=["float", "field", "detached", "infinite", "fails"],
)
def test_a_function_that_cannot_be_asked_for_is_refused_before_work(function, says):
    own = OwnProperty(name="mine", function=function)
    with pytest.raises(InputError, match=says):
        check_properties([own], [Metric("property", "mine")], 2)


def test_a_function_that_is_only_measured_needs_no_gradient():
    own = OwnProperty(name="mine", function=lambda phases: phases.detach()[0].mean())
    check_properties([own], [], 2)
    with pytest.raises(InputError, match="given twice"):
        check_properties([own, own], [], 2)


def test_a_failure_on_a_volume_names_the_property():
    with pytest.raises(WorkError, match=r"property mine: its function failed .ZeroDivisionError"):
        OwnProperty(name="mine", function=lambda phases: 1 / 0).measured(HOT)
