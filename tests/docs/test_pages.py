"""What the pages say can be typed: every command exists, every Python example runs, every picture is there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from actors.volumes import volume_sha256
from cluster.cli import app
from engine.export.volumes import write_volume
from studies.reading import load_study, recipe_names
from studies.table import append_rows
from tests.conftest import REPOSITORY
from tests.docs.blocks import blocks
from tests.structures import level_cut

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MOST_BYTES = 200_000


def commands(page: Path) -> list[list[str]]:
    """Every `mesoforge ...` line of a page's blocks as words; pipes, substitutions and continued lines understood."""
    found = []
    for block in blocks(page, "", "sh", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.findall(
                r"(?:^|\$\(|[|&;]\s*)(mesoforge (?:[^|&;)>\"']|\"[^\"]*\"|'[^']*')*)", line.strip()
            ):
                found.append(shlex.split(command, comments=True)[1:])
    return found


ALL = [(page.name, words) for page in PAGES for words in commands(page)]


def test_there_are_commands() -> None:
    assert len(ALL) > 25


@pytest.mark.parametrize(("page", "words"), ALL, ids=[f"{page}: {' '.join(words)[:60]}" for page, words in ALL])
def test_every_command_is_one_that_there_is(page: str, words: list[str]) -> None:
    """Parsed as typed, not run: unknown commands and options fail."""
    root = get_command(app)
    name, *rest = words
    with root.make_context("mesoforge", [name, *rest]) as context:
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        assert command is not None, f"{page}: no command {name}"
        with command.make_context(name, rest, parent=context):
            pass


def test_the_recipes_of_the_cookbook_are_those_that_ship() -> None:
    page = REPOSITORY / "docs" / "cookbook.md"
    listed = set(re.findall(r"^\| `(\w+)` \|", page.read_text(), re.MULTILINE))
    assert listed == set(recipe_names())


def test_the_studies_of_the_cookbook_can_be_read(berea: Path, tmp_path: Path) -> None:
    whole = [text for text in blocks(REPOSITORY / "docs" / "cookbook.md", "yaml") if "search:" in text]
    assert len(whole) >= 2
    for number, text in enumerate(whole):
        file = tmp_path / f"study{number}.yaml"
        file.write_text(text)
        assert [bundle.name for bundle in load_study(file).bundles] == ["berea"]


def test_the_python_page_runs(berea: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks in order in one empty folder, with a folder of results beside."""
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    results.mkdir()
    labels = level_cut((8, 8, 8), 0.7, 1.0, seed=0)
    write_volume(labels, results / "first1.tif")
    row = {"structure_id": "first1", "status": "unguided", "fraction_pore": 0.3, "diffusivity_pore_z": 0.1}
    append_rows(results, [row | {"volume_sha256": volume_sha256(labels)}], ("pore", "solid"))  # type: ignore[list-item]
    names: dict[str, object] = {}
    for block in blocks(REPOSITORY / "docs" / "python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    np.testing.assert_array_equal(names["labels"], labels)  # type: ignore[arg-type]
    written = {path.name for path in tmp_path.iterdir()}
    assert {"pores.png", "slices.png", "s2.png", "page.png", "map.png", "first.vti", "first_pore.stl"} <= written
    assert names["measured"].values["diffusivity[layer,x]"] == pytest.approx(0.5, rel=1e-3)  # type: ignore[attr-defined]


def test_pictures_are_there_small_and_used() -> None:
    there = {path.name: path.stat().st_size for path in (REPOSITORY / "docs" / "images").iterdir()}
    named = {
        name for page in PAGES for name in re.findall(r"!\[[^\]]*\]\((?:docs/)?images/([^)]+)\)", page.read_text())
    }
    assert named == set(there)
    assert max(there.values()) < MOST_BYTES


def test_links_between_pages_hold() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
