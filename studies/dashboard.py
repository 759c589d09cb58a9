"""`mesoforge dashboard`: Optuna's dashboard over a study that is only read.

The server shows a copy of the study in memory, which follows the trials on disk also while a sweep runs. Notes and the
list of pictures per trial are in the copy alone: Optuna refuses artifacts for trials that are finished, and only the
driver may write to a study. Notes that a reader writes on the page live as long as the server. Pictures are made when
the page asks for them, and kept in memory.
"""

import csv
import io
import json
import shlex
import uuid
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from engine.errors import InputError
from engine.guidance.targets import parse_target
from engine.models.bundle import read_card
from studies.folder import STUDY_FILE
from studies.pictures import phase_indices, slices_png, turntable_gif
from studies.query import query
from studies.results import Results
from studies.storage import read_trials
from studies.yaml_file import read_yaml

METRIC_NAMES = "study:metric_names"  # Optuna's own attribute behind Study.set_metric_names
SHOWN_TRIALS = 500  # the page gets notes and picture lists of all of them every few seconds
_NAMESPACE = uuid.UUID("6f2a1d0e-0000-4000-8000-6d65736f666f")  # of picture names: the page takes hexadecimal ones only
_KINDS = {
    "slices.png": "image/png",
    "turntable.gif": "image/gif",
    "targets.csv": "text/csv",
}


class _Shown(InMemoryStorage):
    """A copy of the study in memory that follows it; the page can write notes, and nothing else."""

    def __init__(self, name: str, directions: Sequence[StudyDirection]) -> None:
        super().__init__()
        self.study_id = InMemoryStorage.create_new_study(self, directions, name)

    def follow(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Take over what has changed; returns the trials that are finished since the last call."""
        base, finished = InMemoryStorage, []
        known = {trial.number: trial for trial in self.get_all_trials(self.study_id, deepcopy=False)}
        for trial in trials:
            shown = known.get(trial.number)
            if shown is None:
                base.create_new_trial(self, self.study_id, trial)  # numbers go up one by one in both
            elif shown.state.is_finished():
                continue
            else:
                for name, value in trial.params.items():
                    if name not in shown.params:
                        distribution = trial.distributions[name]
                        internal = distribution.to_internal_repr(value)
                        base.set_trial_param(self, shown._trial_id, name, internal, distribution)
                for name, attribute in trial.user_attrs.items():
                    base.set_trial_user_attr(self, shown._trial_id, name, attribute)
                if trial.state.is_finished():
                    base.set_trial_state_values(self, shown._trial_id, trial.state, trial.values)
            if trial.state.is_finished():
                finished.append(
                    self.get_trial(self.get_trial_id_from_study_id_trial_number(self.study_id, trial.number))
                )
        return finished

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best that meets every constraint; Optuna's storages look at the value alone."""
        complete = [trial for trial in self.get_all_trials(study_id, deepcopy=False) if trial.values]
        good = [trial for trial in complete if all(violation <= 0 for violation in trial.constraints.values())]
        if not good:
            return super().get_best_trial(study_id)
        more = self.get_study_directions(study_id)[0] is StudyDirection.MAXIMIZE
        return (max if more else min)(good, key=lambda trial: trial.values[0])

    def _refused(self, *arguments: Any, **options: Any) -> NoReturn:
        raise PermissionError("the dashboard only reads the study; mesoforge sweep goes on with it")

    create_new_study = delete_study = create_new_trial = _refused
    set_trial_param = set_trial_state_values = set_trial_user_attr = set_trial_system_attr = _refused
    set_trial_intermediate_value = _refused


class Pictures:
    """Optuna's artifact store, of pictures that are made when they are asked for."""

    def __init__(self, results: Results, phase_labels: Sequence[int]) -> None:
        self._results, self._labels = results, list(phase_labels)
        self._known: dict[str, tuple[str, str]] = {}
        self._made = lru_cache(maxsize=128)(self._make)

    def offer(self, structure_id: str, kind: str) -> str:
        """Name under which a picture of a structure can be opened."""
        name = str(uuid.uuid5(_NAMESPACE, f"{structure_id}/{kind}"))
        self._known[name] = structure_id, kind
        return name

    def open_reader(self, artifact_id: str) -> BinaryIO:
        if artifact_id not in self._known:
            from optuna.artifacts.exceptions import ArtifactNotFound

            raise ArtifactNotFound(artifact_id)
        return io.BytesIO(self._made(artifact_id))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        raise PermissionError("the dashboard only reads the study")

    def remove(self, artifact_id: str) -> None:
        raise PermissionError("the dashboard only reads the study")

    def _make(self, artifact_id: str) -> bytes:
        structure_id, kind = self._known[artifact_id]
        if kind == "targets.csv":
            [row] = _rows(self._results.folder, [structure_id])
            return targets_csv(row)
        labels = self._results.volume(structure_id)
        known = self._labels or sorted({int(label) for label in labels.ravel()})
        indices = phase_indices(labels, known)
        count = max(len(known), int(indices.max()) + 1)
        return slices_png(indices, count) if kind == "slices.png" else turntable_gif(indices, count)


class Board:
    """A study for the server: its storage and its pictures.

    Raises:
        InputError: the folder holds no study, or one without trials.
    """

    def __init__(self, out: Path) -> None:
        results = Results(out)
        self.out, self._results = out, results
        trials = read_trials(out)
        if not trials:
            raise InputError(
                f"{out}: holds no trials of a study, which is what the dashboard shows; "
                f"mesoforge report {out} shows any results"
            )
        document = _document(out)
        self.name = str(document.get("name") or out.resolve().name)
        names, directions = _objectives(document, trials)
        self.pictures = Pictures(results, _phase_labels(document))
        self.storage = _Shown(self.name, directions)
        self.storage.set_study_system_attr(self.storage.study_id, METRIC_NAMES, names)
        self._note(None, study_note(out, self.name))
        self._follow(trials)

    def refresh(self) -> int:
        """Show what the study has become. Returns the number of trials that are finished since the last call."""
        return self._follow(read_trials(self.out))

    def _follow(self, trials: Sequence[FrozenTrial]) -> int:
        """Give notes and pictures to the trials that are finished since the last call."""
        finished = self.storage.follow(trials)
        shown = finished[-SHOWN_TRIALS:]
        rows: dict[int, list[dict[str, Any]]] = {}
        stored = self._results.stored() if shown else set()
        for row in _rows_of_trials(self.out, [trial.number for trial in shown]):
            rows.setdefault(row["trial"], []).append(row)
        for trial in shown:
            self._show(trial, rows.get(trial.number, []), stored)
        return len(finished)

    def _show(self, trial: FrozenTrial, rows: list[dict[str, Any]], stored: set[str]) -> None:
        self._note(trial._trial_id, trial_note(self.out, trial, rows))
        for row in rows:
            name = str(row["structure_id"])
            for kind, mimetype in _KINDS.items():
                if kind == "targets.csv" and not row["targets"]:
                    continue
                if kind != "targets.csv" and name not in stored:
                    continue
                artifact = self.pictures.offer(name, kind)
                record = {
                    "artifact_id": artifact,
                    "filename": f"{name} {kind}" if len(rows) > 1 else kind,
                    "mimetype": mimetype,
                    "encoding": None,
                }
                key = f"dashboard:artifacts:{trial._trial_id}:{artifact}"
                self.storage.set_study_system_attr(self.storage.study_id, key, json.dumps(record))

    def _note(self, trial_id: int | None, body: str) -> None:
        from optuna_dashboard._note import save_note_with_version

        save_note_with_version(self.storage, self.storage.study_id, trial_id, 1, body)

    def application(self) -> Any:
        """The server's WSGI application."""
        from optuna_dashboard import wsgi

        return wsgi(self.storage, artifact_store=self.pictures)


def study_note(out: Path, name: str) -> str:
    """What stands above the study, in Markdown."""
    text = (out / STUDY_FILE).read_text(encoding="utf-8") if (out / STUDY_FILE).is_file() else ""
    folder = quoted(str(out))
    commands = (f"mesoforge report {folder}", f'mesoforge query {folder} "SELECT * FROM structures"')
    return (
        f"## {plain(name)}\n\nThe folder `{_code(str(out))}` is only read. Notes written here last as long as the "
        "server.\n\n"
        + "".join(f"    {command}\n" for command in commands)
        + "\n"
        + "".join(f"    {line}\n" for line in text.splitlines())
    )


def trial_note(out: Path, trial: FrozenTrial, rows: Sequence[dict[str, Any]]) -> str:
    """What stands beside a trial, in Markdown: targets against what was achieved, and what to type next."""
    parts = []
    if trial.user_attrs.get("reason"):
        parts.append(f"No value: {plain(str(trial.user_attrs['reason']))}")
    for row in rows:
        lines = [f"### {plain(str(row['structure_id']))}: {plain(str(row['status']))}"]
        if row.get("reason"):
            lines.append(plain(str(row["reason"])))
        table = target_rows(row)
        if table:
            lines.append("| target on | asked | achieved | |\n| --- | --- | --- | --- |\n" + "\n".join(
                f"| {plain(metric)} | {plain(asked)} | {achieved} | {held} |" for metric, asked, achieved, held in table
            ))  # fmt: skip
        name = quoted(str(row["structure_id"]))
        lines.append(
            f"    mesoforge export {quoted(str(out))} {name} --format stl\n"
            f"    mesoforge regenerate {quoted(str(out))} {name}"
        )
        parts.append("\n\n".join(lines))
    return "\n\n".join(parts)


def target_rows(row: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(metric, asked, achieved, held or missed) per target of a structure."""
    found = []
    for text in row["targets"] or ():
        target = parse_target(text)
        value = row.get(target.metric.column)
        achieved = "no value" if value is None else f"{value:.4g}"
        asked = text.removeprefix(str(target.metric)).lstrip("=")
        found.append((str(target.metric), asked, achieved, "held" if target.holds(value) else "missed"))
    return found


def targets_csv(row: dict[str, Any]) -> bytes:
    """The same as a table that the dashboard shows as such."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["target on", "asked", "achieved", "outcome"])
    writer.writerows(target_rows(row))
    return text.getvalue().encode()


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|<>~$&" else c for c in " ".join(text.split()))


def quoted(text: str) -> str:
    """For a shell, on one line."""
    return shlex.quote(" ".join(text.split()))


def _code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")


def _document(out: Path) -> dict[str, Any]:
    path = out / STUDY_FILE
    return read_yaml(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else {}


def _objectives(document: dict[str, Any], trials: Sequence[FrozenTrial]) -> tuple[list[str], list[StudyDirection]]:
    """Names and directions: those of the study file, as many as trials have values."""
    stated = document.get("objectives") or document.get("objective") or []
    entries = stated if isinstance(stated, list) else [stated]
    found = [(str(metric), direction) for entry in entries for direction, metric in entry.items()]
    count = next((len(trial.values) for trial in trials if trial.values), max(len(found), 1))
    found += [(f"value {place + 1}", "maximize") for place in range(len(found), count)]
    directions = [
        StudyDirection.MAXIMIZE if word == "maximize" else StudyDirection.MINIMIZE for _, word in found[:count]
    ]
    return [name for name, _ in found[:count]], directions


def _phase_labels(document: dict[str, Any]) -> list[int]:
    """Labels of the bundle's phases, where the bundle is at hand."""
    try:
        return [phase.label for phase in read_card(str(document["bundle"])).phases] if document.get("bundle") else []
    except InputError:
        return []


def _rows(out: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    return query(out, f"SELECT * FROM structures WHERE structure_id IN ({listed})").to_pylist()


def _rows_of_trials(out: Path, trials: Sequence[int]) -> list[dict[str, Any]]:
    if not trials:
        return []
    listed = ", ".join(map(str, trials))
    return query(out, f"SELECT * FROM structures WHERE trial IN ({listed}) ORDER BY trial, sample").to_pylist()
