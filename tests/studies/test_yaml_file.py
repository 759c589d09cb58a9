"""studies.yaml_file: what is wrong with a study file is said in one line, with file and key path."""

from pathlib import Path

import jsonschema
import pytest

from engine.errors import InputError
from studies.yaml_file import StudyFile, json_schema, parse_study_file, read_yaml
from tests.conftest import REPOSITORY
from tests.studies.fakes import STUDY


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials: 4", "trails: 4", "toy.yaml: trails: no such key; did you mean 'trials'?"),
        ("low: 0.15", "lwo: 0.15", "toy.yaml: search.fraction[pore].lwo: no such key; did you mean 'low'?"),
        ("maximize", "maximise", "toy.yaml: objective.maximise: no such key; did you mean 'maximize'?"),
        ("size: 8", "size: 8\nsettings: {step: 3}", "settings.step: no such key; did you mean 'steps'?"),
        ("trials: 4", "trials: 4.5", "toy.yaml: trials: must be an integer, not 4.5"),
        ("trials: 4", "trials: true", "trials: must be an integer, not True"),
        ("low: 0.15", "low: few", "search.fraction[pore].low: must be a number, not 'few'"),
        ("low: 0.15", "low: true", "search.fraction[pore].low: must be a number, not True"),
        ("low: 0.15", "low: .nan", "search.fraction[pore].low: must be a finite number, not nan"),
        ("trials: 4", "converged: {}", "toy.yaml: converged.after: is missing; add it"),
        ("trials: 4", "converged: {afetr: 3}", "converged.afetr: no such key; did you mean 'after'"),
        ("seed: 3", "map: {'fraction[pore]': {lo: 1}}", "map.fraction[pore].lo: no such key; did you mean 'low'"),
        ("seed: 3", "seed: 3\nseed: 4", "the key 'seed' occurs twice"),
        ("high: 0.25", "low: 0.25", "toy.yaml: line 9: the key 'low' occurs twice"),
        ("name: toy", "name: [", "toy.yaml: line 3:"),
        ("name: toy", "name: !!python/object/apply:os.system ['true']", "toy.yaml: line 1:"),
    ],
)
def test_one_line_names_file_key_and_remedy(old: str, new: str, message: str) -> None:
    text = STUDY.lstrip("\n")
    assert text.count(old) >= 1
    with pytest.raises(InputError) as caught:
        parse_study_file(text.replace(old, new, 1), "toy.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("toy.yaml: ")


def test_an_unknown_key_is_named_before_the_error_it_causes() -> None:
    """`low` misspelt is also `low` missing; the first is what the user did."""
    with pytest.raises(InputError, match="bundel: no such key; did you mean 'bundle'"):
        parse_study_file(STUDY.replace("bundle:", "bundel:"), "toy.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "3"])
def test_not_a_mapping_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a study is a mapping"):
        read_yaml(text, "toy.yaml")


def test_exponent_without_a_point_is_a_number() -> None:
    """YAML 1.1 reads 2e-1 as text."""
    file = parse_study_file(STUDY.replace("low: 0.15", "low: 15e-2"), "toy.yaml")
    assert file.search["fraction[pore]"].low == 0.15


def test_the_json_schema_knows_every_key_and_what_the_reader_refuses() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert set(schema["properties"]) == set(StudyFile.model_fields)
    assert all(each.get("description") for each in schema["properties"].values())
    assert validator.is_valid(read_yaml(STUDY, "toy.yaml"))
    for old, new in (("bundle:", "bundel:"), ("seed: 3", "seed: soon"), ("tolerance: 0.01", "tolerance: wide")):
        assert not validator.is_valid(read_yaml(STUDY.replace(old, new), "toy.yaml"))


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "studies" / "recipes").glob("*.yaml")), ids=lambda path: path.stem
)
def test_recipes_hold_the_schema(path: Path) -> None:
    jsonschema.validate(read_yaml(path.read_text(), str(path)), json_schema())
