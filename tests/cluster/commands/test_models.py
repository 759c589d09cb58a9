import json
import shutil
from pathlib import Path

import pytest

from tests.cluster.conftest import Call


def test_lists_the_bundles_of_a_folder(call: Call, untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESOFORGE_BUNDLES", str(untrained.parent))
    lines = call("models").stdout.splitlines()
    assert lines[0].split()[:2] == ["name", "material"]
    [line] = [line for line in lines if line.startswith("untrained ")]
    assert "pore 0.5, solid 0.5" in line and str(untrained) in line


def test_json_is_one_document(call: Call, untrained: Path) -> None:
    [bundle] = json.loads(call("models", untrained, "--json").stdout)["bundles"]
    assert bundle["name"] == "untrained"
    assert bundle["phases"] == {"pore": 0.5, "solid": 0.5}
    assert bundle["voxel_size_um"] == 2.0
    assert bundle["size_mb"] == round((untrained / "weights.safetensors").stat().st_size / 1e6, 1)


def test_a_bundle_that_does_not_exist_is_refused(refused: Call) -> None:
    assert "no bundle 'granite'" in refused("models", "granite")


def test_a_damaged_card_is_refused_with_its_path(refused: Call, untrained: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(untrained, damaged)
    (damaged / "card.json").write_text("{")
    assert str(damaged / "card.json") in refused("models", damaged)


def test_weights_that_are_not_the_cards_are_refused(refused: Call, untrained: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(untrained, changed)
    weights = changed / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert f"{weights}: sha256" in refused("models", changed)
    weights.unlink()
    assert f"{weights}: missing" in refused("models", changed)


def test_a_damaged_bundle_does_not_hide_the_others(
    call: Call, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = tmp_path / "bundles"
    for name in ("bad_card", "good"):
        shutil.copytree(untrained, bundles / name)
    (bundles / "bad_card" / "card.json").write_text("{")
    monkeypatch.setenv("MESOFORGE_BUNDLES", str(bundles))
    called = call("models")
    assert called.status == 0
    lines = called.stdout.splitlines()
    assert any(line.startswith("good ") for line in lines)
    assert any(line.split()[:2] == ["bad_card", "damaged"] for line in lines)
    assert [line for line in lines if line.startswith(f"damaged: {bundles / 'bad_card' / 'card.json'}: not a bundle")]
    faults = {each["name"]: each["fault"] for each in json.loads(call("models", "--json").stdout)["bundles"]}
    assert faults["good"] == "" and "card.json" in faults["bad_card"]
