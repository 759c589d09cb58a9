"""studies.dashboard: a study that is shown and never touched."""

import csv
import io
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from optuna_dashboard._note import get_note_from_system_attrs
from optuna_dashboard.artifact._backend import list_trial_artifacts
from PIL import Image

from engine.errors import InputError
from studies.dashboard import Board, plain, target_rows, trial_note
from studies.table import append_rows
from tests.studies.fakes import PHASES
from tests.studies.made_up import make_up


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("a study")
    make_up(out, trials=6, samples=1, volumes=6, seed=3)
    return out


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_trials_are_shown_as_they_are(folder: Path) -> None:
    before = bytes_of(folder)
    board = Board(folder)
    study = optuna.load_study(study_name="toy", storage=board.storage)
    assert study.metric_names == ["diffusivity[pore,z]"]
    assert [trial.number for trial in study.trials] == list(range(6))
    assert set(study.trials[0].params) == {"fraction[pore]", "diffusivity[pore,z]"}
    assert board.refresh() == 0 and bytes_of(folder) == before


def test_the_best_trial_meets_the_constraints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_up(tmp_path, trials=1, samples=1, volumes=0)
    from studies.storage import read_trials

    [first] = read_trials(tmp_path)
    trials = []
    for number, (value, fraction) in enumerate(((0.05, 0.18), (0.06, 0.25), (0.04, 0.19))):
        trial = optuna.trial.FrozenTrial(**_fields(first) | {"number": number, "values": [value]})  # type: ignore[arg-type]
        study = optuna.create_study()
        asked = study.ask()
        asked.set_constraint("fraction[pore]<=0.2", fraction - 0.2)
        trial.system_attrs = study.trials[0].system_attrs
        trials.append(trial)
    monkeypatch.setattr("studies.dashboard.read_trials", lambda out: trials)
    board = Board(tmp_path)
    assert board.storage.get_best_trial(board.storage.study_id).number == 0


def test_every_trial_has_pictures_targets_and_commands(folder: Path) -> None:
    board = Board(folder)
    attrs = board.storage.get_study_system_attrs(board.storage.study_id)
    for trial in board.storage.get_all_trials(board.storage.study_id):
        if trial.state is not TrialState.COMPLETE:
            continue
        artifacts = {each["filename"]: each for each in list_trial_artifacts(attrs, {}, trial)}
        assert set(artifacts) == {"slices.png", "turntable.gif", "targets.csv"}
        note = get_note_from_system_attrs(attrs, trial._trial_id)["body"]
        assert "mesoforge regenerate '" in note and "--format stl" in note and "| target on |" in note
    opened = {name: board.pictures.open_reader(each["artifact_id"]).read() for name, each in artifacts.items()}
    assert Image.open(io.BytesIO(opened["slices.png"])).format == "PNG"
    assert Image.open(io.BytesIO(opened["turntable.gif"])).n_frames > 10
    table = list(csv.reader(io.StringIO(opened["targets.csv"].decode())))
    assert table[0][0] == "target on" and {row[3] for row in table[1:]} <= {"held", "missed"} and len(table) == 3


def test_the_page_can_write_notes_and_nothing_else(folder: Path) -> None:
    board, before = Board(folder), bytes_of(folder)
    storage = board.storage
    storage.set_study_system_attr(storage.study_id, "dashboard:note_ver", 2)
    for change in (
        lambda: storage.delete_study(storage.study_id),
        lambda: storage.create_new_trial(storage.study_id),
        lambda: storage.set_trial_user_attr(0, "a", 1),
        lambda: storage.set_trial_state_values(0, TrialState.FAIL),
        lambda: board.pictures.remove("x"),
        lambda: board.pictures.write("x", io.BytesIO()),
    ):
        with pytest.raises(PermissionError):
            change()
    assert bytes_of(folder) == before


def test_a_running_study_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_up(tmp_path, trials=4, samples=1, volumes=0)
    from studies.storage import read_trials

    whole = read_trials(tmp_path)
    [running] = [optuna.trial.FrozenTrial(**_fields(trial)) for trial in whole[2:3]]
    running.state, running.values, running.datetime_complete = TrialState.RUNNING, None, None
    running.user_attrs = {}
    monkeypatch.setattr("studies.dashboard.read_trials", lambda out: [*whole[:2], running])
    board = Board(tmp_path)
    storage, study_id = board.storage, board.storage.study_id
    assert storage.get_all_trials(study_id)[2].state is TrialState.RUNNING
    monkeypatch.setattr("studies.dashboard.read_trials", lambda out: whole)
    assert board.refresh() == 2
    shown = storage.get_all_trials(study_id)
    assert [trial.values for trial in shown] == [trial.values for trial in whole]
    assert shown[2].user_attrs == whole[2].user_attrs
    assert get_note_from_system_attrs(storage.get_study_system_attrs(study_id), shown[3]._trial_id)["body"]


def _fields(trial: optuna.trial.FrozenTrial) -> dict[str, object]:
    return {
        "number": trial.number,
        "trial_id": trial._trial_id,
        "state": trial.state,
        "value": None,
        "values": trial.values,
        "datetime_start": trial.datetime_start,
        "datetime_complete": trial.datetime_complete,
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": {},
        "system_attrs": {},
        "intermediate_values": {},
    }


def test_notes_show_names_as_they_are() -> None:
    assert plain("<b>|a_b|") == r"\<b\>\|a\_b\|"
    row = {"structure_id": "x", "status": "failed", "reason": "**boom** `x`", "targets": []}
    trial = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"reason": "a <script>"})
    note = trial_note(Path("it's"), trial, [row])
    assert r"\<script\>" in note and r"\*\*boom\*\*" in note
    assert "mesoforge export 'it'\"'\"'s' x --format stl" in note


def test_targets_against_achieved() -> None:
    row = {"targets": ["fraction[pore]=[0.1,0.2]", "diffusivity[pore,z]>=0.5"], "fraction_pore": 0.15}
    assert target_rows(row) == [
        ("fraction[pore]", "[0.1,0.2]", "0.15", "held"),
        ("diffusivity[pore,z]", ">=0.5", "no value", "missed"),
    ]


def test_a_folder_without_trials_is_refused(tmp_path: Path) -> None:
    append_rows(tmp_path, [{"structure_id": "a"}], PHASES)
    with pytest.raises(InputError, match="holds no trials"):
        Board(tmp_path)
