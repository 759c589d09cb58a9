"""studies.storage: the journal after a crash, and reading it while it is written."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from engine.errors import InputError
from studies.folder import JOURNAL
from studies.journal import CUT_SUFFIX, repair_journal
from studies.space import distributions
from studies.storage import OpenStudy, open_study, read_trials
from tests.studies.fakes import study


def ask(opened: OpenStudy) -> optuna.trial.Trial:
    return opened.study.ask(distributions(study(), 0))


def make_journal(out: Path, tell: bool = True) -> bytes:
    """The journal of two trials, the second still running."""
    with open_study(study(), out) as opened:
        trial = ask(opened)
        trial.set_constraint("c", -0.1)
        if tell:
            opened.study.tell(trial, 0.5)
        ask(opened)
        opened.flush()
    return (out / JOURNAL).read_bytes()


def states(out: Path) -> list[TrialState]:
    return [trial.state for trial in read_trials(out)]


def test_a_study_opens_again_with_its_trials_direction_and_names(tmp_path: Path) -> None:
    journal = make_journal(tmp_path)
    with open_study(study(), tmp_path) as opened:
        found = opened.study
        assert [trial.state for trial in found.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
        assert found.direction == optuna.study.StudyDirection.MAXIMIZE
        assert found.metric_names == ["diffusivity[pore,z]"]
        assert found.trials[0].constraints == {"c": -0.1}
    assert (tmp_path / JOURNAL).read_bytes() == journal


def test_a_record_torn_at_any_byte_is_cut_and_the_rest_kept(tmp_path: Path) -> None:
    journal = make_journal(tmp_path)
    last = journal[: journal[:-1].rindex(b"\n") + 1]
    for length in range(len(last), len(journal)):
        (tmp_path / JOURNAL).write_bytes(journal[:length])
        assert repair_journal(tmp_path / JOURNAL) == length - len(last)
        assert (tmp_path / JOURNAL).read_bytes() == last
    assert repair_journal(tmp_path / JOURNAL) == 0
    with open_study(study(), tmp_path) as opened:  # appending after a repair is safe
        ask(opened)
        opened.flush()
    assert len(states(tmp_path)) == 3
    assert not Path(f"{tmp_path / JOURNAL}{CUT_SUFFIX}").exists()


def test_a_study_torn_while_it_was_made_is_made_again(tmp_path: Path) -> None:
    journal = make_journal(tmp_path)
    first = journal.index(b"\n") + 1
    for length in (0, 1, first - 1, first, first + 5):
        (tmp_path / JOURNAL).write_bytes(journal[:length])
        with open_study(study(), tmp_path) as opened:
            assert opened.study.trials == [] and opened.study.metric_names == ["diffusivity[pore,z]"]


@pytest.mark.parametrize(
    "damage", [b'{"op_code": 6, "tri\n', b"\0" * 40 + b"\n", b"[]\n", b'{"no": 1}\n', b"\xff\xfe\n"]
)
def test_damage_within_is_cut_back_to_the_last_valid_record_and_kept_aside(tmp_path: Path, damage: bytes) -> None:
    journal = make_journal(tmp_path)
    lines = journal.splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:-2]) + damage + b"".join(lines[-2:]))
    assert repair_journal(tmp_path / JOURNAL) == len(damage) + len(lines[-2]) + len(lines[-1])
    assert (tmp_path / JOURNAL).read_bytes() == b"".join(lines[:-2])
    assert Path(f"{tmp_path / JOURNAL}{CUT_SUFFIX}").read_bytes() == damage + b"".join(lines[-2:])


def test_reading_takes_no_lock_writes_nothing_and_bears_a_torn_tail(tmp_path: Path) -> None:
    journal = make_journal(tmp_path)
    (tmp_path / JOURNAL).write_bytes(journal + b'{"op_code": 6, "tri')
    assert states(tmp_path) == [TrialState.COMPLETE, TrialState.RUNNING]
    assert (tmp_path / JOURNAL).read_bytes() == journal + b'{"op_code": 6, "tri'
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]


def test_a_journal_of_which_nothing_can_be_read_is_named(tmp_path: Path) -> None:
    """No trials would be a wrong answer."""
    (tmp_path / JOURNAL).write_bytes(b"not a record\n" * 3)
    with pytest.raises(InputError, match=f"{JOURNAL}: holds no record that can be read; restore it, or move it away"):
        read_trials(tmp_path)
    (tmp_path / JOURNAL).write_bytes(b'{"op_code": 0, "worker')
    assert read_trials(tmp_path) == []


def test_a_folder_without_a_journal_has_no_trials(tmp_path: Path) -> None:
    assert read_trials(tmp_path) == []
    (tmp_path / JOURNAL).write_bytes(b"")
    assert read_trials(tmp_path) == []


def test_the_lock_that_optuna_leaves_after_a_kill_is_no_obstacle(tmp_path: Path) -> None:
    """Its own lock would be honoured for 30 s."""
    make_journal(tmp_path)
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    with open_study(study(), tmp_path) as opened:
        ask(opened)
        opened.flush()
    assert len(states(tmp_path)) == 3


def test_every_record_is_one_line_of_json(tmp_path: Path) -> None:
    """What the repair rests on."""
    journal = make_journal(tmp_path)
    assert journal.endswith(b"\n")
    assert all("op_code" in json.loads(line) for line in journal.splitlines())
