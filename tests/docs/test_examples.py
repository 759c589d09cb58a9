"""The examples of the documentation run, at a small size."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import blocks


def test_a_surrogate_is_trained_and_designed_with(
    repository: Path, berea: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = repository / "docs" / "examples" / "permeability_surrogate.py"
    spec = importlib.util.spec_from_file_location("permeability_surrogate", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    asked, said, exact = example.main(["--model", str(berea), "--volumes", "4", "--size", "32"])
    assert said == pytest.approx(asked, abs=0.1)  # certified by the function itself
    # Four volumes make a poor surrogate; what it promises is a factor, not a percentage.
    assert exact == pytest.approx(asked, abs=math.log(2))
    assert len(json.loads((tmp_path / "permeability_surrogate.json").read_text())["slope"]) == 2


def test_the_property_on_the_page_of_routes_is_had(
    repository: Path, berea: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    [block] = blocks(repository / "docs" / "routes.md", "python")
    exec(compile(block, "docs/routes.md", "exec"), names)
    structure = names["structure"]
    pores = structure.labels == 0
    assert structure.attained and pores[:16].sum() / pores.sum() == pytest.approx(0.6, abs=0.02)
    assert structure.values["property[layered]"] == pytest.approx(pores[:16].sum() / pores.sum())
