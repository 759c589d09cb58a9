"""The YAML border: a study file as text -> `StudyFile`, checked key by key. pydantic is used here and nowhere else.

Everything wrong with the text is an InputError of one line that names the file and the key path.
"""

import math
from collections.abc import Hashable
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
)

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
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


Percentage = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*%?\s*$"}]})
]
"""A number, or a percentage such as `5%`; read by `studies.search.read_tolerance`."""


class EntryFile(_Strict):
    """One line of `search:`: the numbers that a target or a setting may take, as low and high or as values."""

    low: Number | None = None
    """Smallest value."""
    high: Number | None = None
    """Largest value."""
    step: Number | None = None
    """Distance between values; without it every value in between may be taken."""
    log: StrictBool = False
    """Spread evenly over the logarithm."""
    values: list[Any] | None = None
    """The only values, instead of low and high."""
    tolerance: Percentage = None
    """Half the width of the target, in the metric's unit or in percent of the value."""
    times: dict[Number, Number] | None = None
    """Natural value of the metric at some phase fractions; low and high are then multiples of it."""


class AxisFile(_Strict):
    """One line of `map:`: the interval of a metric to cover."""

    low: Number
    """Lower end."""
    high: Number
    """Upper end."""
    cells: StrictInt = 8
    """Equal cells along it; a structure is asked for to within half a cell."""


class ObjectiveFile(_Strict):
    """What to prefer: one of the two."""

    maximize: StrictStr | None = None
    """Metric such as `diffusivity[pore,z]`."""
    minimize: StrictStr | None = None
    """Metric such as `surface_area[pore]`."""


class ConvergedFile(_Strict):
    """When to stop before the budget is spent."""

    after: StrictInt
    """Trials in a row that brought nothing new."""
    tolerance: Percentage = "1%"
    """What counts as new: better by more than this part of the range of values seen so far."""


class SettingsFile(_Strict):
    """`engine.request.Settings`, key by key; an absent key keeps the default there."""

    sampler: StrictStr | None = None
    """Multi-plane sampler: spectral; mpdd or harmonized (as published)."""
    solver: StrictStr | None = None
    """Solver of the denoising steps: ddim, ddpm or dpm++; absent: the bundle's own."""
    steps: StrictInt | None = None
    """Denoising steps; absent: the bundle's own."""
    eta: Number | None = None
    """Stochasticity: 0 deterministic to 1 ancestral; absent: the bundle's own."""
    harmonizing_passes: StrictInt | None = None
    """With harmonized: how often each step is noised again and repeated."""
    harmonizing_blend: Number | None = None
    """With harmonized: share of the re-noised volume in what is denoised again."""
    refinement: StrictStr | None = None
    """What a refinement pass does: sdedit or rounds; absent: the bundle's own."""
    refine_passes: StrictInt | None = None
    """Refinement passes after decoding; absent: the bundle's own."""
    guidance: StrictStr | None = None
    """How targets are brought about: volume, volume-sds, or sds-slices (as published)."""
    route: StrictStr | None = None
    """How targets are reached: guided, conditioned, sampler, conditioned+guided or auto."""
    guidance_weight: Number | None = None
    """Omega: weighs what the network is told against nothing; 1 is that alone."""
    candidates: StrictInt | None = None
    """At most so many volumes are tried for targets that no gradient leads to."""
    guidance_iterations: StrictInt | None = None
    """At most so many guidance iterations for a structure with targets."""
    slice_numbers: StrictStr | None = None
    """With sds-slices: its numbers where they are not the published ones, such as steps=200,rate=0.01."""


class StudyFile(_Strict):
    """A study of mesoforge: what to generate, what to search, what to prefer, when to stop."""

    name: StrictStr | None = None
    """Name of the study, part of every structure's id and seed; absent: the name of the file."""
    bundle: StrictStr | None = None
    """Model bundle: a name of `mesoforge models`, or a path."""
    bundles: list[StrictStr] = []
    """Several bundles to choose from, instead of bundle: the choice is searched."""
    bundle_hash: StrictStr | dict[StrictStr, StrictStr] | None = None
    """Written by mesoforge: identifies the weights that the study was made with."""
    properties: dict[StrictStr, StrictStr] = {}
    """Functions of your own: import path module:function by name, for targets and metrics on them."""
    materials: StrictStr | Annotated[list[StrictStr], Field(min_length=1)] | None = None
    """What the phases are made of: a file or a name that ships, for conductivity, elastic moduli and thermal expansion;
    of several the choice is searched."""
    materials_hash: StrictStr | dict[StrictStr, StrictStr] | None = None
    """Written by mesoforge: identifies the constants that the study was made with."""
    size: StrictInt | None = None
    """Voxels on a side of a cube."""
    sizes: list[StrictInt] = []
    """Several sizes to choose from, instead of size: the choice is searched."""
    shape: list[StrictInt] | None = Field(default=None, min_length=3, max_length=3)
    """Voxels along z, y, x, instead of size."""
    periodic: StrictBool = False
    """Make volumes whose opposite faces join, and measure them so."""
    seed: StrictInt = 0
    """The only source of randomness."""
    trials: StrictInt | None = None
    """Stop after so many trials. May be raised later: the study goes on."""
    hours: Number | None = None
    """Start no trial after so many hours of work, those of earlier runs of the study included."""
    converged: ConvergedFile | None = None
    """Stop when trials no longer bring anything new."""
    samples: StrictInt = 1
    """Structures per trial; an objective is their mean."""
    sampler: StrictStr | None = None
    """Who chooses the points: tpe (default), gp, nsga2, nsga3, qmc, grid or random."""
    startup_trials: StrictInt | None = None
    """Trials placed quasi-randomly before tpe, gp, nsga2 or nsga3 takes over."""
    population: StrictInt | None = None
    """Trials in a generation of nsga2 and nsga3."""
    deterministic: StrictBool = False
    """Make an adaptive sampler repeatable: results are told in the order of asking."""
    window: StrictInt = 8
    """With deterministic: trials worked on at once."""
    search: dict[StrictStr, EntryFile] = {}
    """What is searched: targets by metric, and settings such as settings.eta."""
    targets: list[StrictStr] = []
    """Targets that every structure has, such as fraction[pore]=0.2±0.01."""
    objective: ObjectiveFile | None = None
    """What to prefer."""
    objectives: list[ObjectiveFile] = []
    """Several things to prefer, instead of objective: their Pareto front is searched."""
    map: dict[StrictStr, AxisFile] = {}
    """Metrics to cover evenly, instead of an objective: how far can this material go?"""
    unguided: StrictInt | None = None
    """With map: first trials without targets, to see what the model covers by itself; absent: a tenth of them."""
    constraints: list[StrictStr] = []
    """What must hold for the means of a trial to count, such as fraction[pore]<=0.2."""
    settings: SettingsFile = SettingsFile()
    """How to generate."""
    storage: StrictStr = "journal"
    """journal (a file in the study's folder), or postgresql://USER@HOST/DATABASE with the password in PGPASSWORD."""


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a study file, for editors that complete and check YAML."""
    schema = StudyFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "mesoforge study"}


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
    nested: dict[str, type[BaseModel]] = {
        "search": EntryFile,
        "objective": ObjectiveFile,
        "objectives": ObjectiveFile,
        "map": AxisFile,
        "converged": ConvergedFile,
        "settings": SettingsFile,
    }
    return nested[path[0]]
