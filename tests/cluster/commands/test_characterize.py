import json
from pathlib import Path

import numpy as np
import pytest

from tests.cluster.conftest import Call


@pytest.fixture
def laminate(call: Call) -> Path:
    """16³, labels 3 and 7: a plate of label 3 across z takes a quarter of the volume."""
    labels = np.full((16, 16, 16), 7, np.uint8)
    labels[:, :, :4] = 3
    np.save("laminate.npy", labels)
    return Path("laminate.npy")


def test_json_has_values_outcomes_and_curves(call: Call, laminate: Path) -> None:
    called = call("characterize", laminate, "--phases", "plate,rest", "--json")
    assert called.status == 0, called.stderr
    [volume] = json.loads(called.stdout)["volumes"]
    assert volume["shape"] == [16, 16, 16] and volume["phases"] == {"plate": 3, "rest": 7}
    metrics = volume["metrics"]
    assert metrics["fraction[plate]"] == {"value": 0.25, "outcome": "measured"}
    assert metrics["diffusivity[plate,z]"]["value"] == pytest.approx(0.25, rel=1e-2)
    assert metrics["diffusivity[plate,x]"] == {"value": 0.0, "outcome": "does_not_percolate"}
    assert volume["curves"]["s2[plate]"][0] == pytest.approx(0.25)


def test_phases_are_named_by_label_unless_told(call: Call, laminate: Path) -> None:
    called = call("characterize", laminate, "--metrics", "fraction[3],diffusivity[7,z]")
    lines = [line.split() for line in called.stdout.splitlines()]
    assert ["fraction[3]", "0.25", "measured"] in lines
    assert [line[0] for line in lines if line and "[" in line[0]] == ["fraction[3]", "diffusivity[7,z]"]


def test_lengths_are_given_in_micrometres_where_the_voxel_size_is_known(call: Call, laminate: Path) -> None:
    called = call("characterize", laminate, "--metrics", "mean_chord[3,x],fraction[3]", "--voxel-size-um", "0.5")
    row = next(line.split() for line in called.stdout.splitlines() if line.startswith("mean_chord"))
    value = float(row[1])
    assert row[2:] == ["voxel", f"{value / 2:.4g}", "um", "measured"]
    called = call(
        "characterize", laminate, "--metrics", "surface_area[3],fraction[3]", "--voxel-size-um", "0.5", "--json"
    )
    [volume] = json.loads(called.stdout)["volumes"]
    area = volume["metrics"]["surface_area[3]"]["value"]
    assert volume["in_micrometres"] == {"surface_area[3]": {"value": pytest.approx(2 * area), "unit": "1/um"}}
    assert volume["units"] == {"surface_area[3]": "1/voxel", "fraction[3]": ""}


def test_outcomes_come_with_a_remedy(call: Call, laminate: Path) -> None:
    called = call("characterize", laminate, "--metrics", "connected_fraction[3,x]")
    assert "does_not_percolate: the phase is disconnected along this axis" in called.stdout


def test_images_are_measured_too(call: Call, images: Path) -> None:
    called = call("characterize", images / "labels.npy", images / "small.npy", "--json")
    assert called.status == 0, called.stderr
    large, small = json.loads(called.stdout)["volumes"]
    assert (large["shape"], small["shape"]) == ([96, 96], [32, 32])
    assert {"euler_number_density[1]", "diffusivity[1,x]"} <= set(large["metrics"])
    assert "diffusivity[1,z]" not in large["metrics"]
    assert large["units"]["euler_number_density[1]"] == "1/voxel^2"


def test_both_diffusivities_sealed_and_periodic(call: Call) -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:6, 0], labels[3:, 7] = 1, 1  # a path through the sides
    np.save("path.npy", labels)
    given = ("characterize", "path.npy", "--metrics", "diffusivity[1,z],multigrid_diffusivity[1,z]")
    certified = call(*given, "--json", "--periodic")
    assert certified.status == 0, certified.stderr
    [volume] = json.loads(certified.stdout)["volumes"]
    values = [volume["metrics"][name]["value"] for name in ("diffusivity[1,z]", "multigrid_diffusivity[1,z]")]
    assert volume["periodic"] and values[0] != values[1] and values[0] == pytest.approx(values[1], rel=5e-3)
    own = json.loads(call(*given, "--json", "--periodic", "--no-certify").stdout)["volumes"][0]["metrics"]
    assert [each["value"] for each in own.values()] == [values[1]] * 2
    assert call(*given).stdout.count("does_not_percolate") == 3  # two rows and the remedy


def test_progress_names_what_is_measured(call: Call, laminate: Path) -> None:
    assert "measuring: 1 volumes" in call("characterize", laminate, "--metrics", "fraction[3]").stderr


def test_a_picture_with_a_reference(call: Call, laminate: Path) -> None:
    np.save("reference.npy", np.tile(np.load(laminate), (1, 2, 1)))
    called = call(
        "characterize", laminate, "--metrics", "fraction[3]", "--picture", "page.png", "--reference", "reference.npy"
    )
    assert called.status == 0, called.stderr
    assert Path("page.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["laminate.npy", "page.png", "reference.npy"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["missing.tif"], ["missing.tif", "no such file"]),
        (["laminate.npy", "--phases", "pore"], ["2 labels (3, 7)", "names 1"]),
        (["laminate.npy", "--phases", "a,a"], ["a, a"]),
        (["laminate.npy", "--metrics", "fraction[pore]"], ["pore"]),
        (["laminate.npy", "missing.tif"], ["missing.tif"]),
        (["laminate.npy", "--metrics", "tpb_density"], ["needs 3 phases"]),
        (["laminate.npy", "--voxel-size-um", "0"], ["positive length"]),
        (["laminate.npy", "--reference", "laminate.npy"], ["add --picture"]),
        (["laminate.npy", "laminate.npy", "--picture", "page.png"], ["draws one file, 2 were given"]),
        (["laminate.npy", "--picture", "page.tif"], ["must end in .png"]),
        (["laminate.npy", "--picture", "nowhere/page.png"], ["folder nowhere does not exist"]),
        (["laminate.npy", "--picture", "page.png", "--reference", "other.npy"], ["other.npy"]),
    ],
)
def test_refuses(refused: Call, laminate: Path, options: list[str], words: list[str]) -> None:
    line = refused("characterize", *options)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(("name", "word"), [("broken.tif", "unreadable"), ("grey.npy", "grey")])
def test_refuses_what_is_not_labelled(refused: Call, images: Path, name: str, word: str) -> None:
    line = refused("characterize", images / name)
    assert str(images / name) in line and word in line


def test_refuses_an_image_along_z_and_a_single_row(refused: Call, images: Path, tmp_path: Path) -> None:
    assert "is an image" in refused("characterize", images / "labels.npy", "--metrics", "diffusivity[1,z]")
    assert "is an image" in refused("characterize", images / "labels.npy", "--metrics", "mean_chord[1,z]")
    assert "is an image" in refused("characterize", images / "labels.npy", "--metrics", "poissons_ratio[xz]")
    np.save(tmp_path / "row.npy", np.eye(4, 1, dtype=np.uint8)[None].repeat(3, axis=0))
    line = refused("characterize", tmp_path / "row.npy")
    assert "row.npy" in line and "single layer of voxels along x" in line


def test_refuses_nan_and_a_header_that_promises_more_than_memory(refused: Call, tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((4, 4, 4), np.nan))
    assert "NaN" in refused("characterize", tmp_path / "nan.npy")
    with (tmp_path / "huge.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (100_000, 100_000, 100_000)}
        np.lib.format.write_array_header_1_0(stream, header)
    assert "promises" in refused("characterize", tmp_path / "huge.npy")


def test_materials_add_what_the_volume_conducts_and_carries(call: Call, laminate: Path) -> None:
    Path("materials.yaml").write_text(
        "phases:\n"
        "  plate: {conductivity: 8, youngs_modulus_gpa: 10, poissons_ratio: 0.25}\n"
        "  rest: {conductivity: 2, youngs_modulus_gpa: 10, poissons_ratio: 0.25}\n"
    )
    metrics = "conductivity[z],conductivity[x],elastic_modulus_gpa[y],shear_modulus_gpa[zx],poissons_ratio[xy]"
    given = ("--phases", "plate,rest", "--metrics", metrics, "--json")
    called = call("characterize", laminate, *given, "--materials", "materials.yaml")
    assert called.status == 0, called.stderr
    found = json.loads(called.stdout)["volumes"][0]["metrics"]
    assert found["conductivity[z]"]["value"] == pytest.approx(0.25 * 8 + 0.75 * 2, rel=1e-3)
    assert found["conductivity[x]"]["value"] == pytest.approx(1 / (0.25 / 8 + 0.75 / 2), rel=1e-3)
    assert found["elastic_modulus_gpa[y]"] == {"value": pytest.approx(10, rel=1e-5), "outcome": "converged"}
    assert found["shear_modulus_gpa[xz]"] == {"value": pytest.approx(4, rel=1e-5), "outcome": "converged"}
    assert found["poissons_ratio[xy]"] == {"value": pytest.approx(0.25, rel=1e-5), "outcome": "converged"}
    refused = call("characterize", laminate, *given)
    assert refused.status == 2 and "--materials FILE.yaml" in refused.stderr
