import sys

import pytest

from cluster.terminal import Interrupted, duration, kept_on_interrupt, phase, size_text, table


def test_table_keeps_every_character_and_puts_numbers_to_the_right() -> None:
    text = table(["name", "value"], [["a" * 150, 1.0], ["b", 0.123456], ["c", None]])
    header, rule, first, second, third = text.splitlines()
    assert first.startswith("a" * 150) and first.endswith("     1")
    assert second.endswith("0.1235") and third.endswith(" -")
    assert header.startswith("name") and set(rule) == {"-", " "}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (3599, "59:59 min"),
        (3600, "1:00 h"),
        (7530, "2:06 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_phase_off_a_terminal_is_two_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with phase("work", 3, unit="steps") as bar:
        for step in range(4):
            bar.update(step, f"loss {step}")
    captured = capsys.readouterr()
    first, last = captured.err.splitlines()
    assert first == "work: 3 steps"
    assert last.startswith("work: done in ") and last.endswith("(loss 3)")
    assert captured.out == ""


def test_a_phase_that_is_stopped_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), phase("work", 3) as bar:
        bar.update(2)
        raise KeyboardInterrupt
    assert "work: stopped at 2 of 3" in capsys.readouterr().err


def test_a_phase_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with phase("work", 3, unit="steps") as bar:
        bar.update(3, "loss [0.5]")
    captured = capsys.readouterr()
    assert "work" in captured.err and "3/3" in captured.err and "loss [0.5]" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("says_left", [False, True])
def test_a_bar_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, says_left: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with phase("work", 4, says_left=says_left) as bar:
        bar.update(1)
        bar.update(2, "measuring")
    shown = capsys.readouterr().err
    assert ("measuring, about 0.0 s left" in shown) is not says_left and "measuring" in shown


def test_kept_on_interrupt_says_what_is_kept() -> None:
    with pytest.raises(Interrupted) as caught, kept_on_interrupt("ten rows"):
        raise KeyboardInterrupt
    assert caught.value.kept == "ten rows"
    with pytest.raises(ValueError), kept_on_interrupt("ten rows"):
        raise ValueError


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (9_960, "10 kB"), (23_400_000, "23 MB"), (5e12, "5.0 TB")],
)
def test_sizes_are_for_people(count: float, text: str) -> None:
    assert size_text(count) == text
