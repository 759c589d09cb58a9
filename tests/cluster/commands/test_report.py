from pathlib import Path

import pytest

from studies.table import append_rows
from tests.cluster.conftest import Call


@pytest.fixture
def results(call: Call) -> Path:
    """A folder with two rows, as `reconstruct` writes it."""
    folder = Path("results")
    rows: list[dict[str, object]] = [
        {"structure_id": name, "fraction_pore": value, "status": "unguided"} for name, value in (("a", 0.1), ("b", 0.2))
    ]
    append_rows(folder, rows, ["pore", "solid"])
    return folder


def test_writes_one_file_and_prints_where(call: Call, results: Path) -> None:
    called = call("report", results)
    assert called.status == 0 and called.stdout.strip() == str(results / "report.html")
    assert "2 structures" in called.stderr and "MB" in called.stderr
    assert (results / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in results.iterdir() if not path.name.startswith(".")) == [
        "report.html",
        "structures.parquet",
    ]


def test_a_file_of_ones_own(call: Call, results: Path) -> None:
    assert call("report", results, "--out", "page.html", "--volumes", 0, "--pictures", 0).status == 0
    assert Path("page.html").is_file() and not (results / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["results", "--out", "/dev/null"], ["/dev/null", "no ordinary file"]),
        (["nowhere"], ["nowhere", "no such folder"]),
        ([".."], ["holds no results"]),
        (["results", "--volumes", "-1"], ["--volumes -1"]),
        (["results", "--out", "results"], ["is a folder"]),
        (["results", "--out", "none/page.html"], ["none", "does not exist"]),
    ],
)
def test_refuses(refused: Call, results: Path, options: list[str], words: list[str]) -> None:
    line = refused("report", *options)
    assert all(word in line for word in words), line


def test_a_full_disk_is_one_line(call: Call, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    called = call("report", results)
    assert called.status == 1 and "No space left on device" in called.stderr
    assert not list(results.glob("*.html*"))
