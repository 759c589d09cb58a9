import numpy as np
import pytest
import tifffile

from engine.errors import InputError
from engine.micrographs.synthetic.materials import MATERIALS, describe, make_matched, make_material

CHEAP = {name: ["diameter=12"] for name in ("grains", "voronoi", "polycrystal")} | {
    "fibres": ["fraction=0.2", "length=6"]
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", MATERIALS)
def test_a_sample_is_a_function_of_parameters_shape_and_seed(name, dimensions):
    """Conformance: what every material of the list must do."""
    material = make_material(name, CHEAP.get(name, []), dimensions=dimensions)
    shape = (30, 28, 32)[-dimensions:]
    if name in ("fibres", "disks"):
        shape = tuple(side - side % 2 for side in shape)
    lengths = ["lengths=4"] if name in ("levelcut", "sheets", "plurigaussian") else []
    if lengths or name in ("anisotropic", "spinodal"):
        material = make_material(name, lengths or ["lengths=3"], dimensions=dimensions)
    first = material.sample(shape, 7)
    assert first.shape == shape and first.dtype == np.uint8
    if material.phases:
        assert set(np.unique(first)) == set(range(len(material.phases)))
    else:
        assert len(np.unique(first)) > 50  # grey values
    assert np.array_equal(first, material.sample(shape, 7))
    assert not np.array_equal(first, material.sample(shape, 8))


@pytest.mark.parametrize("name", MATERIALS)
def test_the_recipe_names_every_parameter(name):
    assert describe(name, make_material(name)).startswith(f"{name}(")
    assert "fraction" in describe(name, make_material(name)) or name in ("voronoi", "grains", "polycrystal")


def test_settings_are_read_in_the_type_of_the_parameter():
    made = make_material("levelcut", ["fraction=0.2", "lengths=3,4,5", "cuts=2", "covariance=wave"])
    assert describe("levelcut", made) == "levelcut(fraction=0.2, lengths=3,4,5, cuts=2, covariance=wave)"


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("sphere", [], "did you mean 'spheres'"),
        ("spheres", ["radus=3"], "did you mean 'radius'"),
        ("spheres", ["radius"], "expected PARAMETER=VALUE"),
        ("spheres", ["radius=big"], "'big' must be a number"),
        ("levelcut", ["lengths=3,a"], "numbers separated by commas"),
        ("spheres", ["fraction=nan"], "must lie between"),
    ],
)
def test_refuses(name, settings, words):
    with pytest.raises(InputError, match=words):
        make_material(name, settings)


@pytest.mark.parametrize("shape", [(4,), (1, 8), (0, 8, 8), (10**6, 10**6, 10**6)])
def test_shapes_that_cannot_be_are_refused_before_anything_is_allocated(shape):
    with pytest.raises(InputError, match="shape: "):
        make_material("levelcut").sample(shape, 0)


def test_matched_reads_its_target(tmp_path):
    image = (np.random.default_rng(0).random((64, 64)) < 0.3).astype(np.uint8) * 200
    tifffile.imwrite(tmp_path / "a.tif", image)
    material, recipe = make_matched(tmp_path / "a.tif", ["lags=8"])
    assert material.phases == ("phase_0", "phase_200")
    assert "lags=8" in recipe and "descriptors=s2+lineal_path" in recipe
    with pytest.raises(InputError, match="no parameter 'lag'"):
        make_matched(tmp_path / "a.tif", ["lag=8"])
    np.save(tmp_path / "v.npy", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(InputError, match="cut a slice"):
        make_matched(tmp_path / "v.npy")
