"""A finished study of any size without the work: made-up numbers through the writers that a sweep uses."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial
from scipy.ndimage import gaussian_filter

from actors.rows import Row
from actors.volumes import VolumeWriter
from engine.outcomes import Outcome
from studies.config import StudyConfig
from studies.folder import hold_study
from studies.score import score
from studies.space import distributions, requests_of
from studies.storage import open_study
from studies.table import write_rows
from tests.studies.fakes import PHASES, STUDY, made_up_row, study

MADE_UP = STUDY.replace("size: 8", "size: 24")


def made_up_study(trials: int, samples: int) -> StudyConfig:
    return study(MADE_UP, trials=trials, samples=samples, sampler="random")


def make_up(out: Path, *, trials: int, samples: int, volumes: int, seed: int = 0) -> StudyConfig:
    """Fill a folder with trials * samples structures, of which up to `volumes` have voxels and curves."""
    config = made_up_study(trials, samples)
    generator = np.random.default_rng(seed)
    space = distributions(config, 0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    written = 0
    with hold_study(config, out), open_study(config, out) as opened:
        rows: list[Row] = []
        for number in range(trials):
            params = {name: float(generator.uniform(each.low, each.high)) for name, each in space.items()}
            requests = requests_of(config, number, params)
            own = [_row(request, number, sample, generator) for sample, request in enumerate(requests)]
            for row in own[: max(1, volumes // trials)]:
                if written < volumes and row["status"] != "failed":
                    _store(out, row, generator)
                    written += 1
            rows += own
            result = score(config, requests[0].targets, own)
            started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
            trial = create_trial(
                state=TrialState.FAIL if result.values is None else TrialState.COMPLETE,
                values=result.values,
                params=params,
                distributions=space,
                user_attrs=dict(result.attributes),
                system_attrs={"constraints": [max(result.constraints.values(), default=0.0)]},
            )
            trial.datetime_start, trial.datetime_complete = started, started + timedelta(seconds=50)
            opened.study.add_trial(trial)
        opened.flush()
        write_rows(out, rows, PHASES)
    return config


def _row(request, number: int, sample: int, generator: np.random.Generator) -> Row:  # type: ignore[no-untyped-def]
    row = made_up_row(request) | {"study": "toy", "trial": number, "sample": sample, "voxel_size_um": 2.5}
    if generator.random() < 0.01:
        kept = {name: value for name, value in row.items() if not name.startswith(("fraction", "diffusivity"))}
        return kept | {
            "status": "failed",
            "reason": "OutOfMemoryError: no memory (attempt 3)",
            "error_type": "OutOfMemoryError",
            "volume_sha256": None,
        }
    fraction = float(row["fraction_pore"]) + float(generator.normal(0, 0.006))  # type: ignore[arg-type]
    diffusivity = float(row["diffusivity_pore_z"]) * float(generator.normal(1, 0.03))  # type: ignore[arg-type]
    row |= {
        "fraction_pore": fraction,
        "fraction_solid": 1 - fraction,
        "diffusivity_pore_z": diffusivity,
        "diffusivity_pore_y": diffusivity * float(generator.normal(1, 0.2)),
        "surface_area_pore_per_voxel": 0.1 + 0.3 * fraction + float(generator.normal(0, 0.01)),
        "fraction_pore_outcome": "measured",
        "diffusivity_pore_z_outcome": str(Outcome.CONVERGED),
    }
    if generator.random() < 0.02:
        row |= {"diffusivity_pore_z": 0.0, "diffusivity_pore_z_outcome": str(Outcome.DOES_NOT_PERCOLATE)}
    held = all(target.holds(float(row[target.metric.column])) for target in request.targets)  # type: ignore[arg-type]
    return row | {"status": "attained" if held else "missed", "reason": "" if held else "wanted something else"}


def _store(out: Path, row: Row, generator: np.random.Generator) -> None:
    """Blobs with the pore fraction of the row; pores are label 0."""
    field = gaussian_filter(generator.normal(size=(24, 24, 24)), 2, mode="wrap")
    labels = (field > np.quantile(field, float(row["fraction_pore"]))).astype(np.uint8)  # type: ignore[arg-type]
    r = np.arange(12)
    curves = {
        "s2[pore]": 0.04 + 0.16 * np.exp(-r / float(generator.uniform(3, 5))),
        "lineal_path[pore]": 0.2 * np.exp(-r / float(generator.uniform(3, 5))),
    }
    VolumeWriter(out).write(str(row["structure_id"]), labels, 2.5, {k: v.astype(np.float32) for k, v in curves.items()})
