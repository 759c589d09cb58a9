"""The notebook's functions against the command line and against what they are made of."""

from pathlib import Path

import numpy as np
import pytest

from cluster.cli import run
from engine.errors import InputError
from engine.export.volumes import read_volume
from engine.notebook import characterize, design, reconstruct
from engine.request import Settings
from studies.table import read_structures
from tests.bundles import write_untrained_bundle
from tests.structures import laminate


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "untrained"
    write_untrained_bundle(folder)
    return folder


def test_design_makes_what_the_command_line_makes(bundle: Path, tmp_path: Path) -> None:
    target = "fraction[pore]=0.5±0.3"
    [structure] = design(bundle, [target], size=32, seed=4)
    out = tmp_path / "out"
    words = ["--model", str(bundle), "--target", target, "--size", "32", "--seed", "4", "--out", str(out)]
    assert run(["design", *words]) == 0
    [row] = read_structures(out).to_pylist()
    np.testing.assert_array_equal(structure.labels, read_volume(out / f"{row['structure_id']}.tif").labels)
    assert structure.attained is True and row["status"] == "attained"
    assert structure.values["fraction[pore]"] == row["fraction_pore"]
    assert structure.outcomes["fraction[pore]"] == "measured" and len(structure.curves["s2[pore]"]) == 32
    assert structure.seed == row["seed"] and structure.voxel_size_um == 2.0
    assert structure.phases == {"pore": 0, "solid": 1}

    assert structure.export(tmp_path, "a", "vti") == [tmp_path / "a.vti"]
    assert len(structure.slices().axes) == 3 and len(structure.show(hide=["solid"]).axes) == 1


def test_an_extreme_and_what_is_doubtful_of_it(bundle: Path) -> None:
    with pytest.warns(UserWarning, match="no isotropic structure has"):
        [structure] = design(
            bundle,
            ["fraction[pore]<=0.6", "diffusivity[pore]>=0.59"],
            maximize="fraction[pore]",
            size=32,
            settings=Settings(guidance_iterations=3),
        )
    assert structure.warnings and structure.values["diffusivity[pore]"] is not None
    with pytest.raises(InputError, match="one of them at a time"):
        design(bundle, maximize="fraction[pore]", minimize="surface_area[pore]", size=32)


def test_reconstruct_has_no_targets(bundle: Path) -> None:
    [structure] = reconstruct(bundle, shape=(32, 32, 48))
    assert structure.labels.shape == (32, 32, 48) and structure.attained is None


def test_characterize_a_laminate() -> None:
    """Layers along z conduct freely along y and x, and not at all across."""
    structure = characterize(laminate((16, 16, 16), 0, 4, 2) * 5, ("matrix", "layer"))
    assert structure.phases == {"matrix": 0, "layer": 5}
    assert structure.values["fraction[layer]"] == 0.5
    assert structure.values["diffusivity[layer,y]"] == pytest.approx(0.5, rel=1e-3)
    assert structure.values["diffusivity[layer,z]"] == 0
    assert structure.outcomes["diffusivity[layer,z]"] == "does_not_percolate"


def test_refusals(bundle: Path) -> None:
    for wrong in ({"count": 0}, {"seed": -1}, {"size": 33}):
        with pytest.raises(InputError):
            design(bundle, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no phase is called"):
        design(bundle, ["fraction[pores]=0.5±0.3"])
    with pytest.raises(InputError, match="2 labels"):
        characterize(laminate((4, 4, 4), 0, 2, 1), ("one",))
    with pytest.raises(InputError, match="got shape"):
        characterize(np.zeros((1, 4, 4), np.uint8))
