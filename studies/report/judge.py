"""What the report says of targets and failures: attainment with intervals, reasons with remedies."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from engine.evaluation.proportions import wilson_interval
from engine.outcomes import Outcome
from studies.report.rows import STATUSES, Rows


def attainment(rows: Rows) -> list[dict[str, Any]]:
    """One entry per targeted metric, and one for all targets of a structure together.

    Failed structures count as not attained: they were asked too.
    """
    entries = []
    for metric in rows.targeted:
        low, high = rows.asked(metric)
        place = rows.place(str(metric))
        values = np.full(len(rows), np.nan) if place is None else rows.columns[place].values
        wanted = ~np.isnan(low)
        held = wanted & (values >= low) & (values <= high)
        outside = np.maximum(low - values, values - high)[wanted & ~held]
        outside = outside[np.isfinite(outside)]
        entries.append(
            _share(str(metric), int(held.sum()), int(wanted.sum()))
            | {"place": place, "miss": float(np.median(outside)) if len(outside) else None}
        )
    asked = np.array([bool(targets) for targets in rows.targets])
    if len(entries) > 1:
        attained = int((rows.status[asked] == STATUSES.index("attained")).sum())
        entries.append(_share("all together", attained, int(asked.sum())) | {"place": None, "miss": None})
    return entries


def _share(name: str, held: int, wanted: int) -> dict[str, Any]:
    low, high = wilson_interval(held, wanted)
    return {"name": name, "held": held, "wanted": wanted, "share": held / wanted, "low": low, "high": high}


def failures(rows: Rows) -> list[dict[str, Any]]:
    """Reasons, the most frequent first: kind, what, how many structures, a remedy, and the first structure with it."""
    count: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], int] = {}
    remedies: dict[tuple[str, str], str] = defaultdict(str)

    def add(kind: str, what: str, row: int, remedy: str = "") -> None:
        key = kind, what
        count[key] += 1
        example.setdefault(key, row)
        remedies[key] = remedies[key] or remedy

    reasons, errors = rows.texts("reason"), rows.texts("error_type")
    outcomes = {str(metric): rows.texts(f"{metric.column}_outcome") for metric in rows.targeted}
    values = {str(metric): rows.numbers(metric.column) for metric in rows.targeted}
    for row, status in enumerate(rows.status):
        if STATUSES[status] == "failed":
            error = errors[row] or reasons[row].partition(":")[0] or "unknown error"
            add("failed", f"{error}: {reasons[row].removeprefix(error + ': ')[:160]}".rstrip(": "), row)
            continue
        if STATUSES[status] != "missed":
            continue
        for target in rows.targets[row]:
            name = str(target.metric)
            value = values[name][row]
            if target.holds(None if np.isnan(value) else float(value)):
                continue
            outcome = outcomes[name][row]
            remedy = Outcome(outcome).remedy if outcome in set(Outcome) else ""
            if remedy:
                add("missed", f"{name}: {outcome.replace('_', ' ')}", row, remedy)
            elif np.isnan(value):
                add("missed", f"{name}: was not measured", row)
            else:
                side = "below" if value < target.low else "above"
                add("missed", f"{name} {side} its target", row)
    return [
        {"kind": kind, "what": what, "count": number, "row": example[kind, what], "remedy": remedies[kind, what]}
        for (kind, what), number in count.most_common()
    ]


def outcomes_of(rows: Rows) -> list[dict[str, Any]]:
    """How the numbers came to be, for every outcome that a user should know of."""
    found = []
    for column in rows.columns:
        counted = Counter(rows.texts(f"{column.name}_outcome"))
        for outcome in Outcome:
            if outcome.remedy and counted[outcome]:
                found.append(
                    {
                        "metric": column.label,
                        "outcome": str(outcome).replace("_", " "),
                        "count": counted[outcome],
                        "remedy": outcome.remedy,
                    }
                )
    return found
