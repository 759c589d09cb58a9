"""Writes docs/data_dictionary.md from the schemas: `python docs/data_dictionary.py`. A test holds the two together."""

from pathlib import Path

import pyarrow as pa

from actors.volumes import CURVE_SCHEMA, VOLUME_SCHEMA
from engine.metrics import KINDS
from engine.outcomes import DesignOutcome, Outcome
from studies.query import describe
from studies.table import SCHEMA_VERSION, structure_schema
from studies.trials import trials_table

PAGE = Path(__file__).parent / "data_dictionary.md"


def text() -> str:
    """The page."""
    kinds = {kind.name for kind in KINDS.values() if not kind.takes_phase}
    fixed = [field for field in structure_schema(()) if not any(field.name.startswith(name) for name in kinds)]
    outcomes = "".join(f"| `{each}` | {each.remedy or 'nothing is wrong'} |\n" for each in Outcome)
    return f"""# Data dictionary

The columns of the four views that `mesoforge query` offers and `studies.open` gives as data frames. This page is made
from the schemas that the files carry (version {SCHEMA_VERSION}); `mesoforge query DIR --schema` prints the columns of a
folder. `/` marks a number without unit.

## structures

One row per structure. `status` is {", ".join(f"`{each}`" for each in DesignOutcome)}.

{_table(fixed)}
### Metrics

Each metric is a column, named after the metric, its phase and its axis, with its unit at the end where it has one;
beside it stands `..._outcome`. PHASE is the name of a phase, AXIS is z, y or x, PLANE is yz, xz or xy, PAIR is two axes
in their order. What has an axis, plane or pair but was asked for without it, such as `diffusivity[PHASE]`, has a column
without it, `diffusivity_PHASE`: the mean of the axes.

| column | metric | unit | meaning |
| --- | --- | --- | --- |
{"".join(_metric_line(name) for name in KINDS)}
A length in micrometres is the length in voxels times `voxel_size_um`; an area per volume in 1/µm is divided by it.

| outcome | what to do |
| --- | --- |
{outcomes}
## curves

One row per curve and structure.

{_table(list(CURVE_SCHEMA))}
## volumes

One row per stored volume.

{_table(list(VOLUME_SCHEMA))}
## trials

One row per trial of a study. Beside these columns a study has its own: `param_*` (what was sampled), `target_*` and
`achieved_*` per metric, `structures_*` (counts), and `violation_*` per constraint, which holds at or below 0.

{_table(list(trials_table(Path("/nonexistent")).schema))}"""


def _table(fields: list[pa.Field]) -> str:
    lines = []
    for field in fields:
        unit, meaning = describe(field)
        kind = str(field.type).replace("<element: ", "<")
        lines.append(f"| `{field.name}` | `{kind}` | {unit or '/'} | {meaning} |\n")
    return "| column | type | unit | meaning |\n| --- | --- | --- | --- |\n" + "".join(lines)


def _metric_line(name: str) -> str:
    kind = KINDS[name]
    first = "NAME" if kind.needs == "function" else "PHASE"
    arguments = [word for word, takes in ((first, kind.takes_phase), (kind.direction, kind.direction)) if takes]
    column = "_".join([name, *arguments]) + kind.unit_suffix
    metric = f"{name}[{','.join(arguments)}]" if arguments else name
    return f"| `{column}` | `{metric}` | {kind.unit or '/'} | {kind.meaning} |\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
