"""Training images from files of every format, and one clear line for everything that cannot be used."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from engine.errors import InputError
from engine.micrographs.read import find_files, parse_region, read_label_file, read_micrographs

PHASES = ("pore", "solid")
BEREA = Path(__file__).parents[4] / "shared" / "data" / "berea_sandstone_200x400x400.tif"


def labels(*shape: int, phases: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, phases, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array, compression="zlib")
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy"])
def test_image_of_each_format(tmp_path: Path, name: str) -> None:
    image = labels(64, 80)
    path = save(tmp_path / name, image * 255)
    found = read_micrographs([path], PHASES)
    np.testing.assert_array_equal(found.arrays[0], image)
    assert found.arrays[0].dtype == np.uint8 and found.arrays[0].flags.c_contiguous
    assert found.labels == (0, 255) and found.phases == PHASES and not found.is_volume
    source = found.sources[0]
    assert (source.name, source.shape, source.kind, source.region) == (name, (64, 80), "image", "")
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["a.tif", "a.npy"])
def test_volume_of_each_format(tmp_path: Path, name: str) -> None:
    volume = labels(64, 70, 80, phases=3)
    found = read_micrographs([str(save(tmp_path / name, volume))], ["a", "b", "c"], voxel_size_um=2.5)
    np.testing.assert_array_equal(found.arrays[0], volume)
    assert found.is_volume and found.sources[0].kind == "volume" and found.voxel_size_um == 2.5
    assert found.fractions == pytest.approx([np.mean(volume == label) for label in range(3)])


def test_region_is_cut_before_labels_are_counted(tmp_path: Path) -> None:
    volume = labels(64, 70, 90)
    volume[:, :, 80:] = 7  # a third label, outside the region
    found = read_micrographs([save(tmp_path / "a.tif", volume)], PHASES, region="x=:80, y=3:")
    np.testing.assert_array_equal(found.arrays[0], volume[:, 3:, :80])
    assert found.sources[0].region == "x=0:80,y=3:70" and found.sources[0].shape == (64, 70, 90)


def test_thresholds_come_from_the_region_alone(tmp_path: Path) -> None:
    truth = labels(64, 128)
    grey = np.where(truth == 1, 120, 100).astype(np.uint8)
    grey[:, 64:] = np.random.default_rng(1).integers(180, 255, (64, 64))
    path = save(tmp_path / "a.png", grey)
    found = read_micrographs([path], PHASES, segment="otsu", region="x=0:64")
    np.testing.assert_array_equal(found.arrays[0], truth[:, :64])
    assert found.labels == (0, 1) and found.sources[0].segment == "otsu"
    assert len(found.sources[0].thresholds) == 1 and 100 <= found.sources[0].thresholds[0] < 120


def test_grey_volume_with_thresholds(tmp_path: Path) -> None:
    grey = np.random.default_rng(2).normal(0, 1, (64, 64, 64)).astype(np.float32)
    found = read_micrographs([save(tmp_path / "a.npy", grey)], ("a", "b", "c"), segment="thresholds:-0.5,0.5")
    np.testing.assert_array_equal(found.arrays[0], np.digitize(grey, [-0.5, 0.5]))
    assert found.sources[0].thresholds == (-0.5, 0.5)


def test_colour_image_is_cut_by_luminance(tmp_path: Path) -> None:
    truth = labels(64, 64)
    colour = np.where(truth[..., None] == 1, [250, 240, 60], [60, 20, 20]).astype(np.uint8)
    found = read_micrographs([save(tmp_path / "a.png", colour)], PHASES, segment="otsu")
    np.testing.assert_array_equal(found.arrays[0], truth)


def test_folder_and_pattern_of_images(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / f"slice_{index}.{('png', 'tif', 'npy')[index]}", labels(64, 64 + index, seed=index))
    (tmp_path / "notes.txt").write_text("not an image")
    found = read_micrographs([tmp_path], PHASES)
    assert [array.shape for array in found.arrays] == [(64, 64), (64, 65), (64, 66)] and not found.is_volume
    again = read_micrographs([str(tmp_path / "slice_*"), tmp_path / "slice_1.tif"], PHASES)
    assert [source.name for source in again.sources] == ["slice_0.png", "slice_1.tif", "slice_2.npy"]


def test_a_phase_may_be_absent_from_one_image(tmp_path: Path) -> None:
    save(tmp_path / "a.png", labels(64, 64) + 2)
    save(tmp_path / "b.png", np.full((64, 64), 5, np.uint8))
    found = read_micrographs([tmp_path], ("a", "b", "c"))
    assert found.labels == (2, 3, 5)
    assert set(np.unique(found.arrays[1])) == {2}


def test_voxel_size_of_the_file_unless_given(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", labels(64, 64, 64), imagej=True, resolution=(2, 2), metadata=metadata)
    assert read_micrographs([tmp_path / "a.tif"], PHASES).voxel_size_um == 0.5
    assert read_micrographs([tmp_path / "a.tif"], PHASES, voxel_size_um=3.0).voxel_size_um == 3.0
    save(tmp_path / "b.tif", labels(64, 64, 64))
    assert read_micrographs([tmp_path], PHASES).voxel_size_um is None


@pytest.mark.parametrize(
    "region, words",
    [
        ("w=0:64", "no axis is called 'w'; axes are z, y, x"),
        ("x=0-64", "not AXIS=START:END"),
        ("x=-5:64", "not AXIS=START:END"),
        ("x=0:64,x=1:65", "named twice"),
        ("x=0:81", "region x=0:81 is empty or leaves the array, which has 80 along x; choose within x=0:80"),
        ("x=70:70", "empty or leaves"),
        ("x=90:", "empty or leaves"),
        ("z=0:64", "an image has no axis 'z'"),
        ("x=0:63", r"64x63 \(region x=0:63\) is smaller than the training crop"),
    ],
)
def test_regions_that_cannot_be_used(tmp_path: Path, region: str, words: str) -> None:
    path = save(tmp_path / "a.png", labels(64, 80))
    with pytest.raises(InputError, match=words):
        read_micrographs([path], PHASES, region=region)


def test_parse_region_open_ends() -> None:
    assert parse_region("x=0:256,z=:100, y = 20:") == {"x": (0, 256), "z": (None, 100), "y": (20, None)}


@pytest.mark.parametrize("shape", [(63, 100), (100, 63), (63, 64, 64), (64, 63, 64), (64, 64, 63)])
def test_smaller_than_the_crop(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.tif", labels(*shape))
    with pytest.raises(InputError, match=r"a\.tif: .*smaller than the training crop.* at least 64"):
        read_micrographs([path], PHASES)
    assert read_micrographs([path], PHASES, minimum=63).arrays[0].shape == shape


@pytest.mark.parametrize("phases, count", [(("a", "b", "c"), 3), (("a", "b", "c", "d", "e", "f", "g", "h", "i"), 9)])
def test_too_few_labels(tmp_path: Path, phases: tuple[str, ...], count: int) -> None:
    path = save(tmp_path / "a.png", labels(64, 64))
    with pytest.raises(InputError, match=rf"2 labels found \(0, 1\) but {count} phases named \(a, b, c"):
        read_micrographs([path], phases)


def test_too_many_labels_names_where_they_are(tmp_path: Path) -> None:
    save(tmp_path / "a.png", labels(64, 64))
    save(tmp_path / "b.png", labels(64, 64) * 255)
    with pytest.raises(InputError, match=r"3 labels found .*255 \(first in b\.png\)\) but 2 phases"):
        read_micrographs([tmp_path], PHASES)


def test_nine_phases_are_not_grey(tmp_path: Path) -> None:
    names = tuple("abcdefghi")
    path = save(tmp_path / "a.png", labels(64, 64, phases=9))
    assert read_micrographs([path], names).labels == tuple(range(9))


@pytest.mark.parametrize(
    "array, words",
    [
        (np.arange(64 * 64).reshape(64, 64).astype(np.uint8), "type uint8 with 256 grey levels"),
        (np.arange(64 * 64).reshape(64, 64).astype(np.uint16), "type uint16 with 4096 grey levels"),
        (labels(64, 64).astype(np.float32), "type float32 with 2 grey levels"),
    ],
)
def test_grey_values_are_refused_with_the_rules(tmp_path: Path, array: np.ndarray, words: str) -> None:
    path = save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=words) as caught:
        read_micrographs([path], PHASES)
    assert "otsu" in str(caught.value) and "thresholds:V1,V2" in str(caught.value)


def test_colour_is_refused_without_a_rule(tmp_path: Path) -> None:
    colour = np.where(labels(64, 64)[..., None] == 1, [250, 0, 0], [0, 0, 200]).astype(np.uint8)
    with pytest.raises(InputError, match="a colour image with 2 grey levels"):
        read_micrographs([save(tmp_path / "a.png", colour)], PHASES)


@pytest.mark.parametrize("dtype, top", [(np.uint16, 65535), (np.int16, -1)])
def test_labels_beyond_a_byte(tmp_path: Path, dtype: type, top: int) -> None:
    path = save(tmp_path / "a.npy", labels(64, 64).astype(dtype) * dtype(top))
    with pytest.raises(InputError, match=r"labels must lie within 0\.\.255"):
        read_micrographs([path], PHASES)


def test_rule_that_leaves_a_phase_empty(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", labels(64, 64))
    with pytest.raises(InputError, match="thresholds:200 leaves no pixel for solid"):
        read_micrographs([path], PHASES, segment="thresholds:200")


@pytest.mark.parametrize(
    "phases, words",
    [((), "at least two"), (("pore",), "at least two"), (("a", "a"), "named twice"), (("a", "b[0]"), "is no name")],
)
def test_phase_names(tmp_path: Path, phases: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_micrographs([save(tmp_path / "a.png", labels(64, 64))], phases)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_voxel_size_must_be_a_length(tmp_path: Path, size: float) -> None:
    with pytest.raises(InputError, match="positive length in micrometres"):
        read_micrographs([save(tmp_path / "a.png", labels(64, 64))], PHASES, voxel_size_um=size)


def test_images_and_volumes_do_not_mix(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", labels(64, 64))
    save(tmp_path / "b.tif", labels(64, 64, 64))
    with pytest.raises(InputError, match=r"b\.tif: holds 3D data, while .*a\.tif holds 2D"):
        read_micrographs([tmp_path], PHASES)


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for paths, words in [
        ([], "no image was named"),
        ([tmp_path], "no image in this folder"),
        ([tmp_path / "*.png"], "no file matches"),
        ([tmp_path / "gone.png"], "no such file"),
    ]:
        with pytest.raises(InputError, match=words):
            read_micrographs(paths, PHASES)


def test_a_file_named_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = save(tmp_path / "scan[1].png", labels(64, 64))
    assert find_files([path]) == [path]


def test_read_label_file_keeps_them_as_they_stand(tmp_path: Path) -> None:
    image = labels(5, 6) * 200
    found, voxel_size_um = read_label_file(save(tmp_path / "a.png", image))
    np.testing.assert_array_equal(found, image)
    assert voxel_size_um is None


@pytest.mark.skipif(not BEREA.exists(), reason="the shared real tomograms are not here")
def test_real_tomogram_and_its_training_part() -> None:
    found = read_micrographs([BEREA], PHASES, region="x=0:256", voxel_size_um=5.345)
    assert found.describe() == "trains on the slices of 1 volume 200x400x256 along z, y and x"
    assert found.labels == (0, 1) and found.sources[0].shape == (200, 400, 400)
    assert found.fractions[0] == pytest.approx(0.198, abs=0.01)


def test_planes_are_named_before_the_path(tmp_path: Path) -> None:
    save(tmp_path / "top.png", labels(64, 80))
    for index in range(2):
        save(tmp_path / f"side{index}.png", labels(70, 64, seed=index))
    found = read_micrographs([f"xy={tmp_path / 'top.png'}", f"xz,yz={tmp_path}/side*.png"], PHASES)
    assert found.is_anisotropic and found.planes == ((0,), (1, 2), (1, 2))
    assert [source.planes for source in found.sources] == ["xy", "xz,yz", "xz,yz"]
    assert [(each.array.shape, each.axis, each.plane) for each in found.slicings()] == [
        ((64, 80), -1, 0),
        *([((70, 64), -1, 1), ((70, 64), -1, 2)] * 2),
    ]
    assert "planes xy, xz, yz told apart" in found.describe()


def test_a_volume_is_cut_across_the_planes_named_for_it(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", labels(64, 66, 68))
    found = read_micrographs([f"xy={tmp_path}/a.tif", f"xz,yz={tmp_path}/a.tif"], PHASES)
    assert found.planes == ((0, 1, 2),) and len(found.arrays) == 1
    assert [(each.axis, each.plane) for each in found.slicings()] == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize(
    "given, words",
    [
        (["xy={}", "{}"], "no plane is named for it"),
        (["xy={}"], "no image shows xz or yz"),
        (["xy,xy={}", "xz,yz={}"], "names a plane twice"),
        (["xy,xz,yz={}"], "cannot show all three planes apart"),
    ],
)
def test_planes_that_cannot_be_used(tmp_path: Path, given: list[str], words: str) -> None:
    paths = [text.format(save(tmp_path / f"{index}.png", labels(64, 64))) for index, text in enumerate(given)]
    with pytest.raises(InputError, match=words):
        read_micrographs(paths, PHASES)
