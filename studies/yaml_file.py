"""The YAML border: a study file as text -> `StudyFile`, checked key by key. pydantic is used here and nowhere else.

Everything wrong with the text is an InputError of one line that names the file and the key path.
"""

import math
from collections.abc import Hashable
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from engine.errors import InputError
from engine.metrics import nearest


def _number(value: object) -> float:
    """A finite number. YAML 1.1 reads `1e-3` as text, so text that is a number counts as one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


Number = Annotated[float, BeforeValidator(_number)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EntryFile(_Strict):
    """One line of `search:`."""

    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    log: StrictBool = False
    values: list[Any] | None = None
    tolerance: Any = None
    times: dict[Number, Number] | None = None


class ObjectiveFile(_Strict):
    maximize: StrictStr | None = None
    minimize: StrictStr | None = None


class SettingsFile(_Strict):
    """`engine.request.Settings`, key by key; an absent key keeps the default there."""

    sampler: StrictStr | None = None
    steps: StrictInt | None = None
    eta: Number | None = None
    refine_passes: StrictInt | None = None
    guidance_iterations: StrictInt | None = None


class StudyFile(_Strict):
    """A study file as it is written."""

    name: StrictStr | None = None
    bundle: StrictStr
    bundle_hash: StrictStr | None = None
    size: StrictInt | None = None
    shape: list[StrictInt] | None = Field(default=None, min_length=3, max_length=3)
    seed: StrictInt = 0
    trials: StrictInt | None = None
    samples: StrictInt = 1
    sampler: StrictStr = "tpe"
    startup_trials: StrictInt | None = None
    search: dict[StrictStr, EntryFile] = {}
    targets: list[StrictStr] = []
    objective: ObjectiveFile
    constraints: list[StrictStr] = []
    settings: SettingsFile = SettingsFile()


class _Loader(yaml.SafeLoader):
    """The safe loader, which by itself keeps the last of two equal keys without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key '{key.value}' occurs twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: naming the file and, where known, the line.
    """
    try:
        document = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise InputError(f"{where}:{line} {error.problem or 'is not valid YAML'}; correct the file") from None
    except yaml.YAMLError as error:
        raise InputError(f"{where}: is not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(document, dict):
        raise InputError(f"{where}: a study is a mapping of keys to values, such as 'bundle: berea'")
    return document


def parse_study_file(text: str, where: str) -> StudyFile:
    """Read and check a study file.

    Raises:
        InputError: unknown key (with the nearest valid one), wrong type, missing key.
    """
    try:
        return StudyFile.model_validate(read_yaml(text, where))
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    """The first complaint in one line; an unknown key goes first, because it often causes the others."""
    complaints = sorted(error.errors(), key=lambda complaint: complaint["type"] != "extra_forbidden")
    first = complaints[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        valid = _model_at(path[:-1]).model_fields
        return f"{'.'.join(path)}: no such key{nearest(path[-1], list(valid))}"
    if first["type"] == "missing":
        return f"{'.'.join(path)}: is missing; add it"
    message = str(first["ctx"]["error"]) if first["type"] == "value_error" else _plain(first["msg"])
    shown = repr(first["input"])
    where = [part for part in path if part not in _TYPE_TAGS]
    return f"{'.'.join(where)}: {message}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"


# pydantic adds the branch of a union to the location of an error; a user did not write it
_TYPE_TAGS = frozenset({"int", "str", "float", "[key]"})


def _plain(message: str) -> str:
    message = message.replace("Input should be a valid ", "must be a ").replace("Input should ", "must ")
    return message.replace("must be a integer", "must be an integer").replace("dictionary", "mapping of keys to values")


def _model_at(path: list[str]) -> type[BaseModel]:
    """The model that the keys at `path` belong to."""
    if not path:
        return StudyFile
    nested: dict[str, type[BaseModel]] = {"search": EntryFile, "objective": ObjectiveFile, "settings": SettingsFile}
    return nested[path[0]]
