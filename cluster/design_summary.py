"""What `mesoforge design` says at its end: who has the targets, how sure that is, and what was not asked for."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cluster.structures import StructureSet
from cluster.terminal import phase, table
from engine.evaluation.designed import Beside, Reached, TrainingImages, beside, reached, standard_errors
from engine.evaluation.proportions import wilson_interval
from engine.metrics import Metric

if TYPE_CHECKING:
    from actors.rows import Row
    from engine.evaluation.copying import Copying
    from engine.models.bundle import Card


BESIDE = ("fraction", "surface_area", "s2_discrepancy")


class DesignSummary:
    """Of the rows of one command line.

    Args:
        rows: of all structures, in order.
        structures: what was asked.
        card: of the bundle.
        against: its training images, to search the volumes for copies of them.
        warnings: what was said before.
    """

    def __init__(
        self,
        rows: "Sequence[Row]",
        structures: StructureSet,
        card: "Card",
        *,
        against: TrainingImages | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        request = structures.request(0)
        self.rows, self.targets, self.warnings = list(rows), request.targets, list(warnings)
        metrics = list(dict.fromkeys(target.metric for target in self.targets))
        also = [Metric(name, each) for each in card.phase_names for name in BESIDE]
        values = [{metric: _number(row, metric) for metric in (*metrics, *also)} for row in rows]
        volumes = [labels for row in rows if (labels := structures.volume(row)) is not None]
        with phase("judging the set", 0) as bar:
            errors = standard_errors(
                volumes, card.phases, metrics, request.materials, lambda done, of: bar.update(done, "octants", of)
            )
            self.reached: list[Reached] = reached(self.targets, values, errors)
            self.beside: list[Beside] = beside(values, card.phase_names, card.training_means)
            self.copying: Copying | None = against.nearest(volumes) if against is not None and volumes else None
        self.searched = against is not None
        self.attained = sum(row["status"] == "attained" for row in rows)

    @property
    def last_line(self) -> str:
        return f"{self.attained} of {len(self.rows)} attained"

    def text(self) -> str:
        """Tables; the last line says how many were attained."""
        wanted = list(dict.fromkeys(target.metric for target in self.targets))
        parts = [
            table(
                ["structure", "status", *map(str, wanted)],
                [[row["structure_id"], row["status"], *(row.get(each.column) for each in wanted)] for row in self.rows],
            ),
            self._reached(),
            self._beside(),
        ]
        return "\n\n".join(parts)

    def document(self) -> dict[str, Any]:
        """The same for `--json`."""
        low, high = wilson_interval(self.attained, len(self.rows))
        return {
            "attained": {"held": self.attained, "count": len(self.rows), "interval": [low, high]},
            "targets": [asdict(each) for each in self.reached],
            "beside": [asdict(each) for each in self.beside],
            "copying": None if self.copying is None else asdict(self.copying) | {"passes": self.copying.passes},
            "warnings": self.warnings,
            "structures": [
                {"structure_id": row["structure_id"], "status": row["status"], "reason": row["reason"]}
                | {str(target.metric): _number(row, target.metric) for target in self.targets}
                for row in self.rows
            ],
        }

    def _reached(self) -> str:
        rows: list[list[object]] = [
            [each.target, f"{each.held} of {each.count}", _share(each.interval), each.mean, each.sd, each.error]
            for each in self.reached
        ]
        if len(self.reached) > 1:
            interval = wilson_interval(self.attained, len(self.rows))
            rows.append(["all together", f"{self.attained} of {len(self.rows)}", _share(interval), None, None, None])
        note = "error: of one volume's value as one of the material, from the spread among its octants"
        return table(["target", "held", "95 % interval", "mean", "sd", "error"], rows) + f"\n{note}"

    def _beside(self) -> str:
        rows = [
            [each.phase, each.fraction, each.surface_area, each.expected_surface_area, _percent(each.s2_discrepancy)]
            for each in self.beside
        ]
        head = "not asked for; the training's surface is the natural one at this fraction, in 1/voxel"
        return f"{head}\n" + table(["phase", "fraction", "surface", "training's", "S2 off by"], rows) + self._copied()

    def _copied(self) -> str:
        if not self.searched:
            return "\ncopies of the training images: not searched for; give them with --against IMAGES"
        found = self.copying
        if found is None:
            return "\ncopies of the training images: the slices hold too little interface to tell"
        verdict = "COPIED" if found.copies else "NEARER than they are to each other"
        each = f"{_percent(found.reference_nearest)}, {_percent(found.reference_median)}"
        return (
            f"\ncopies of the training images: {'none' if found.passes else verdict}; of a square of {found.side} "
            f"pixels {_percent(found.nearest)} differ at the nearest, {_percent(found.median)} in the median (the "
            f"images among each other: {each})"
        )


def _number(row: "Row", metric: Metric) -> float | None:
    value = row.get(metric.column)
    return float(value) if isinstance(value, int | float) else None


def _share(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
