"""`mesoforge reconstruct` and `mesoforge design`, on a bundle of untrained networks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.descriptors.surface import natural_surface_area
from engine.export.volumes import read_volume
from studies.table import read_structures
from tests.cluster.conftest import Call

TWO = ("--count", 2, "--size", 32, "--seed", 5)


@pytest.fixture
def damaged(untrained: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the bundle with one file changed or, for "weights.safetensors missing", removed."""

    def make(what: str) -> Path:
        folder = tmp_path / "damaged"
        shutil.copytree(untrained, folder)
        weights = folder / "weights.safetensors"
        if what == "missing":
            weights.unlink()
        else:
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)
        return folder

    return make


def test_reconstruct_writes_volumes_and_rows_that_agree(call: Call, untrained: Path) -> None:
    called = call("reconstruct", "--model", untrained, *TWO, "--out", "out", "--format", "tiff,npy")
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines()[-1] == "2 volumes in out"
    rows = read_structures(Path("out")).to_pylist()
    names = {row["structure_id"] for row in rows}
    assert len(names) == 2
    files = {path.name for path in Path("out").iterdir() if not path.name.startswith(".")}
    assert files == {f"{name}{end}" for name in names for end in (".tif", ".npy")} | {"structures.parquet"}
    for row in rows:
        volume = read_volume(f"out/{row['structure_id']}.tif")
        assert volume.labels.shape == (32, 32, 32) == (row["shape_z"], row["shape_y"], row["shape_x"])
        assert volume.voxel_size_um == 2.0 == row["voxel_size_um"]
        assert np.mean(volume.labels == 0) == pytest.approx(row["fraction_pore"], abs=1e-6)
        assert row["status"] == "unguided"
        assert row["structure_id"] in called.stdout


def test_periodic_volumes_are_others_and_their_rows_say_so(call: Call, untrained: Path) -> None:
    command = ("reconstruct", "--model", untrained, "--size", 32, "--seed", 5)
    assert call(*command, "--periodic", "--out", "cells").status == 0
    assert call(*command, "--out", "blocks").status == 0
    [cell], [block] = (read_structures(Path(name)).to_pylist() for name in ("cells", "blocks"))
    assert cell["periodic"] is True and block["periodic"] is False
    assert cell["structure_id"] != block["structure_id"] and cell["volume_sha256"] != block["volume_sha256"]
    refused = call(*command, "--periodic", "--out", "blocks")
    assert refused.status == 2 and "other options" in refused.stderr
    assert call("regenerate", "cells", cell["structure_id"], "--model", untrained).status == 0


def test_the_same_command_makes_only_what_is_missing(call: Call, untrained: Path) -> None:
    command = ("reconstruct", "--model", untrained, "--size", 32, "--out", "out")
    call(*command, "--count", 2)
    first, second = sorted(Path("out").glob("*.tif"))
    kept, voxels = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    called = call(*command, "--count", 3)
    assert called.status == 0 and called.stdout.splitlines()[-1] == "3 volumes in out"
    assert first.stat().st_mtime_ns == kept
    assert second.read_bytes() == voxels  # made again, the same whatever else was in the batch
    assert read_structures(Path("out")).num_rows == 3 == len(list(Path("out").glob("*.tif")))


def test_another_format_is_written_from_the_volume_that_is_there(
    call: Call, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.design

    command = ("reconstruct", "--model", untrained, "--size", 32, "--out", "out")
    call(*command)
    rows = read_structures(Path("out")).to_pylist()
    with monkeypatch.context() as nothing:
        nothing.setattr(engine.design, "generate", None)
        called = call(*command, "--format", "npy,vti,stl")
        assert called.status == 0, called.stderr
    ends = {".tif", ".npy", ".vti", "_pore.stl", "_solid.stl"}
    files = {path.name for path in Path("out").iterdir() if not path.name.startswith(".")}
    assert files == {f"{row['structure_id']}{end}" for row in rows for end in ends} | {"structures.parquet"}
    for row in rows:
        name = f"out/{row['structure_id']}"
        np.testing.assert_array_equal(read_volume(f"{name}.npy").labels, read_volume(f"{name}.tif").labels)

    damaged = Path(f"out/{rows[0]['structure_id']}.tif")
    kept = damaged.read_bytes()
    for end in (".npy", ".vti"):
        damaged.with_suffix(end).unlink()
    damaged.write_bytes(kept[: len(kept) // 2])
    assert call(*command, "--format", "vti").status == 0  # nothing to write it from: generated again
    assert damaged.with_suffix(".vti").is_file()


def test_design_counts_what_was_attained(call: Call, untrained: Path) -> None:
    target = ("--target", "fraction[pore]=0.5+-0.3", "--target", "fraction[solid]>=0.1")
    called = call("design", "--model", untrained, *target, *TWO, "--out", "out")
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines()[-1] == "2 of 2 attained"
    assert "fraction[pore]=[0.2,0.8]" in called.stdout
    for row in read_structures(Path("out")).to_pylist():
        assert row["status"] == "attained" and row["targets"] == ["fraction[pore]=[0.2,0.8]", "fraction[solid]>=0.1"]


def test_design_says_how_sure_it_is_and_what_was_not_asked_for(call: Call, untrained: Path, images: Path) -> None:
    options = ("--target", "fraction[pore]=0.5+-0.3", "--target", "surface_area[pore]>=0.01", *TWO, "--out", "out")
    called = call("design", "--model", untrained, *options, "--against", images / "labels.npy")
    assert called.status == 0, called.stderr
    lines = called.stdout.splitlines()
    assert lines[-1] == "2 of 2 attained"
    [reached] = [line for line in lines if line.startswith("fraction[pore]=[0.2,0.8]")]
    assert "2 of 2" in reached and "34 to 100 %" in reached  # Wilson
    assert any(line.startswith("all together") for line in lines)
    assert any("copies of the training images: none; of a square of" in line for line in lines)
    assert "warning" not in called.stderr

    again = call("design", "--model", untrained, *options, "--json")
    document = json.loads(again.stdout)
    assert document["attained"] == {"held": 2, "count": 2, "interval": [pytest.approx(0.342, abs=1e-3), 1.0]}
    fraction, area = document["targets"]
    assert fraction["held"] == 2 and 0.2 < fraction["mean"] < 0.8 and 0 < fraction["error"] < 0.1
    assert area["sd"] >= 0 and document["copying"] is None and document["warnings"] == []
    assert {each["phase"] for each in document["beside"]} == {"pore", "solid"}
    share = document["beside"][0]["fraction"]
    expected, _ = natural_surface_area([0.5, 0.25], share)  # the card's curve is that of independent pixels
    assert document["beside"][0]["expected_surface_area"] == pytest.approx(expected, rel=1e-6)
    assert [each["status"] for each in document["structures"]] == ["attained", "attained"]


def test_design_maximizes_under_its_targets(call: Call, untrained: Path) -> None:
    options = ("--maximize", "fraction[pore]", "--target", "fraction[pore]<=0.6", "--size", 32, "--out", "out")
    called = call("design", "--model", untrained, *options)
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines()[-1] == "1 of 1 attained" and "maximize fraction[pore]" in called.stdout
    [row] = read_structures(Path("out")).to_pylist()
    assert row["targets"] == ["fraction[pore]<=0.6", "maximize fraction[pore]"]
    assert 0.55 < row["fraction_pore"] <= 0.6
    assert call("design", "--model", untrained, *options, "--minimize", "tpb_density").status == 2


def test_design_asks_for_a_mean_of_the_axes_and_selects_what_has_no_gradient(call: Call, untrained: Path) -> None:
    targets = ("--target", "diffusivity[pore]>=0.05", "--target", "connected_fraction[pore,z]>=0.1")
    called = call(
        "design", "--model", untrained, *targets, "--candidates", 2, "--size", 32, "--seed", 1, "--out", "out"
    )
    assert called.status == 0, called.stderr
    assert "warning: connected_fraction[pore,z]: no gradient to follow; up to 2 volumes" in called.stderr
    [row] = read_structures(Path("out")).to_pylist()
    assert row["diffusivity_pore"] == pytest.approx(np.mean([row[f"diffusivity_pore_{axis}"] for axis in "zyx"]))
    assert row["candidates"] == 2 and row["status"] == "attained"
    regenerated = call("regenerate", "out", row["structure_id"], "--model", untrained, "--json")
    assert json.loads(regenerated.stdout)["same_voxels"] is True


def test_design_warns_of_what_is_not_to_be_expected(call: Call, untrained: Path) -> None:
    targets = ("--target", "fraction[pore]<=0.3", "--target", "diffusivity[pore]>=0.25")
    folder = untrained.parent / "seen"
    shutil.copytree(untrained, folder, dirs_exist_ok=True)
    card = json.loads((folder / "card.json").read_text())
    for phase in ("pore", "solid"):
        card["metrics"]["training_curves"][f"s2[{phase}]"] |= {"low": [0.4] * 32, "high": [0.6] * 32}
    (folder / "card.json").write_text(json.dumps(card))
    from engine.design import warnings_of
    from engine.guidance.targets import parse_target
    from engine.models.bundle import read_card
    from engine.request import Request

    request = Request(
        structure_id="a",
        bundle=str(folder),
        shape=(32, 32, 32),
        seed=0,
        targets=tuple(parse_target(text) for text in targets[1::2]),
    )
    mean, seen = warnings_of(request, read_card(folder))
    assert "no isotropic structure has" in mean and "nine of ten training crops had 0.4 to 0.6" in seen


def test_a_missed_target_is_a_row_and_no_error(call: Call, untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missed by the certificate, whatever guidance thought of it."""
    import engine.design
    from engine.outcomes import DesignOutcome

    monkeypatch.setattr(engine.design, "judge", lambda targets, measurement: DesignOutcome.MISSED)
    called = call("design", "--model", untrained, "--target", "fraction[pore]>=0.2", *TWO, "--out", "out")
    assert called.status == 0
    assert called.stdout.splitlines()[-1] == "0 of 2 attained"


def test_an_interrupt_says_what_is_kept(call: Call, untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.design

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.design, "measure", interrupt)
    called = call("reconstruct", "--model", untrained, *TWO, "--out", "out")
    assert called.status == 130
    assert called.stderr.splitlines()[-1].startswith("interrupted: every finished batch is in out; give the same")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "granite"], ["granite"]),
        (["--size", "32", "--shape", "32,32,32"], ["--size", "--shape"]),
        (["--shape", "32,32"], ["--shape 32,32"]),
        (["--size", "33"], ["33x33x33", "multiple of 8"]),
        (["--size", "0"], ["0"]),
        (["--count", "0"], ["--count 0"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--format", "obj"], ["stl", "tiff"]),
        (["--sampler", "spectrl"], ["spectrl", "spectral"]),
        (["--steps", "0"], ["steps", "0"]),
        (["--eta", "2"], ["eta", "2"]),
    ],
)
def test_reconstruct_refuses(refused: Call, untrained: Path, options: list[str], words: list[str]) -> None:
    model = [] if "--model" in options else ["--model", untrained]
    line = refused("reconstruct", *model, *options, "--out", "out")
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("fraction[pore]=1.4±0.01", ["[1.39,1.41]", "[0, 1]"]),
        ("fraction[por]=0.2±0.01", ["por", "did you mean 'pore'"]),
        ("frction[pore]=0.2±0.01", ["frction", "did you mean 'fraction'"]),
        ("diffusivity[pore,w]=0.2±5%", ["z, y or x"]),
        ("fraction[pore]=0.2", ["tolerance"]),
        ("fraction[pore]=0.2±0", ["tolerance"]),
        ("maximize mean_pore_size[pore]", ["mean_pore_size", "surface_area"]),
        ("fraction[pore]=0.2±0%", ["tolerance", "above 0"]),
        ("fraction[pore]<=-0.1", ["[0, 1]"]),
        ("surface_area[pore]>=2.1", ["surface_area[pore]", "[0, 2]"]),
        ("tpb_density>=0.01", ["tpb_density", "needs 3 phases", "pore, solid"]),
        ("lineal_path[pore]=training±2%", ["lineal_path[pore]", "holds no"]),
        ("elastic_modulus_gpa[z]=40±2%", ["materials", "--materials"]),
        ("thermal_expansion[z]<=1e-5", ["materials", "--materials"]),
        ("pore>0.2", ["pore>0.2"]),
    ],
)
def test_design_refuses_a_target(refused: Call, untrained: Path, target: str, words: list[str]) -> None:
    line = refused("design", "--model", untrained, "--target", target, "--out", "out")
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["fraction[pore]=0.6±0.01", "fraction[solid]=0.6±0.01"], ["cannot sum to 1", "between 1.18 and 1.22"]),
        (["fraction[pore]=0.2±0.01", "fraction[pore]>=0.3"], ["contradicts", "[0.19, 0.21]"]),
        (["diffusivity[pore,z]>=0.6", "diffusivity[solid,y]>=0.6"], ["cannot hold together", "at most 1"]),
        (["fraction[pore]<=0.1", "surface_area[pore]>=0.5"], ["surface_area[pore]", "feasible range [0, 0.4129]"]),
        (["fraction[pore]=[0.4,0.5]", "conductivity[z]>=3.2"], ["Voigt and Reuss", "feasible range [0.1961, 3.04]"]),
        (["fraction[pore]=[0.4,0.5]", "conductivity<=0.1"], ["at least 0.196"]),
        (["elastic_modulus_gpa[z]>=1"], ["phase 'pore' has no youngs_modulus_gpa"]),
    ],
)
def test_design_refuses_targets_together(refused: Call, untrained: Path, targets: list[str], words: list[str]) -> None:
    Path("rock.yaml").write_text("phases:\n  pore: {conductivity: 0.1}\n  solid: {conductivity: 5.0}\n")
    options = [part for text in targets for part in ("--target", text)]
    line = refused("design", "--model", untrained, *options, "--materials", "rock.yaml", "--out", "out")
    assert all(word in line for word in words), line


def test_design_refuses_training_images_of_another_material(refused: Call, untrained: Path, images: Path) -> None:
    options = ("--target", "fraction[pore]=0.5+-0.3", "--against", images / "grey.npy")
    assert "grey.npy" in refused("design", "--model", untrained, *options, "--out", "out")


def test_design_needs_something_to_ask_for(refused: Call, untrained: Path) -> None:
    assert "--maximize" in refused("design", "--model", untrained, "--out", "out")


def test_networks_that_give_no_numbers_are_an_error_of_the_work(
    call: Call, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.design

    def broken(*arguments: object, **options: object) -> torch.Tensor:
        return torch.full((1, 2, 32, 32, 32), torch.nan)

    monkeypatch.setattr(engine.design, "decode_latents", broken)
    called = call("reconstruct", "--model", untrained, "--size", 32, "--out", "out")
    assert called.status == 1 and "no finite numbers" in called.stderr
    assert not list(Path("out").glob("*.tif"))


def test_design_refuses_a_diffusivity_above_the_voigt_bound(refused: Call, untrained: Path) -> None:
    targets = ("--target", "fraction[pore]=0.2±0.01", "--target", "diffusivity[pore,z]>=0.3")
    line = refused("design", "--model", untrained, *targets, "--out", "out")
    assert "Voigt" in line and "[0, 0.21]" in line


@pytest.mark.parametrize(("what", "word"), [("missing", "missing"), ("changed", "sha256")])
def test_a_damaged_bundle_is_refused(refused: Call, damaged: Callable[[str], Path], what: str, word: str) -> None:
    folder = damaged(what)
    line = refused("reconstruct", "--model", folder, "--size", 32, "--out", "out")
    assert str(folder / "weights.safetensors") in line and word in line


def test_a_folder_that_holds_something_else_is_refused(refused: Call, untrained: Path) -> None:
    Path("out").mkdir()
    Path("out/thesis.txt").write_text("the only copy")
    line = refused("reconstruct", "--model", untrained, "--size", 32, "--out", "out")
    assert "out" in line and "thesis.txt" in line


def test_a_file_as_folder_is_refused(refused: Call, untrained: Path) -> None:
    Path("out").write_text("a file")
    assert "is a file" in refused("reconstruct", "--model", untrained, "--size", 32, "--out", "out")
    assert "is a file" in refused("reconstruct", "--model", untrained, "--size", 32, "--out", "out/below")


def test_structures_of_other_options_are_refused(call: Call, refused: Call, untrained: Path) -> None:
    call("reconstruct", "--model", untrained, "--size", 32, "--seed", 1, "--out", "out")
    line = refused("reconstruct", "--model", untrained, "--size", 32, "--seed", 2, "--out", "out")
    assert "other options" in line


def test_design_with_materials_measures_and_judges_what_they_give(call: Call, untrained: Path) -> None:
    Path("rock.yaml").write_text(
        "phases:\n  pore: {conductivity: 0.1}\n  solid: {conductivity: 5.0}\n", encoding="utf-8"
    )
    options = ("design", "--model", untrained, "--size", 32, "--target", "conductivity[z]=[0.05,6]", "--out", "out")
    refused = call(*options)
    assert refused.status == 2 and "--materials" in refused.stderr
    called = call(*options, "--materials", "rock.yaml")
    assert called.status == 0, called.stderr
    assert called.stdout.splitlines()[-1] == "1 of 1 attained"
    [row] = read_structures(Path("out")).to_pylist()
    assert 0.1 <= row["conductivity_z"] <= 5.0 and row["materials"]


MODELS = """
from pathlib import Path

Path("ran").touch()


def share(phases):
    return 2 * phases[0].mean()
"""


def test_a_function_of_the_user_s_own_is_asked_for_by_its_import_path(
    call: Call, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    command = ("design", "--model", untrained, "--size", 32, "--target", "share=0.9±0.1", "--out", "out")
    missing = call(*command)
    assert missing.status == 2 and "no metric is called 'share'" in missing.stderr
    called = call(*command, "--property", "share=my_own_models:share")
    assert called.status == 0, called.stderr
    [row] = read_structures(Path("out")).to_pylist()
    assert row["property_share"] == pytest.approx(2 * row["fraction_pore"], abs=1e-6)
    assert row["properties"] == ["share=my_own_models:share"] and row["targets"] == ["property[share]=[0.8,1]"]
    again = ("regenerate", "out", row["structure_id"], "--model", untrained)
    Path("ran").unlink()
    refused = call(*again)
    assert refused.status == 2 and "not run because a table names it" in refused.stderr
    assert not Path("ran").exists()
    assert call(*again, "--property", "share=my_own_models:share").status == 0


def test_a_route_is_stored_with_the_row_and_made_again(call: Call, untrained: Path) -> None:
    command = ("design", "--model", untrained, "--size", 32, "--target", "fraction[pore]=0.5±0.1")
    assert call(*command, "--route", "sampler", "--out", "out").status == 0
    [row] = read_structures(Path("out")).to_pylist()
    assert (row["route"], row["guidance_weight"]) == ("sampler", 1.0)
    assert call("regenerate", "out", row["structure_id"], "--model", untrained).status == 0
    refused = call(*command, "--route", "conditioned", "--out", "other")
    assert refused.status == 2 and "was not trained to be told descriptors" in refused.stderr
