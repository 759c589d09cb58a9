import hashlib
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from actors.volumes import (
    CURVE_SCHEMA,
    VOLUME_SCHEMA,
    VolumeWriter,
    check_structure_id,
    curve_table,
    pack,
    read_volume,
    unpack,
    volume_sha256,
)
from engine.errors import InputError


def random_labels(phases: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Every phase occurs; labels with gaps, as images have them."""
    generator = np.random.default_rng(seed)
    labels = np.sort(generator.choice(256, phases, replace=False)).astype(np.uint8)
    codes = generator.integers(0, phases, shape)
    codes.ravel()[: min(phases, codes.size)] = np.arange(min(phases, codes.size))
    return labels[codes]


@pytest.mark.parametrize("phases", [1, 2, 3, 4, 5, 6, 7, 8, 256])
@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 9, 11), (17, 1, 16)])
def test_a_packed_volume_unpacks_to_itself(phases: int, shape: tuple[int, int, int]) -> None:
    labels = random_labels(phases, shape)
    packed = pack(labels)
    present = len(np.unique(labels))
    assert packed.bits_per_voxel == max(1, int(np.ceil(np.log2(present))))
    assert len(packed.packed) == packed.bits_per_voxel * -(-labels.size // 8)
    unpacked = unpack(packed)
    np.testing.assert_array_equal(unpacked, labels)
    assert unpacked.dtype == np.uint8
    assert unpacked.flags.writeable


def test_one_voxel() -> None:
    labels = np.full((1, 1, 1), 200, np.uint8)
    np.testing.assert_array_equal(unpack(pack(labels)), labels)


def test_the_order_of_axes_in_memory_does_not_matter() -> None:
    labels = random_labels(3, (4, 5, 6))
    turned = np.asfortranarray(labels)
    assert pack(turned) == pack(labels)
    assert volume_sha256(turned) == hashlib.sha256(labels.tobytes()).hexdigest()


def test_packed_bits_are_laid_out_as_documented() -> None:
    labels = np.array([5, 7, 9, 7, 5, 5, 5, 9, 9], np.uint8).reshape(1, 1, 9)
    packed = pack(labels)
    assert packed.labels == (5, 7, 9)
    low = 0b00001010, 0b0  # voxels 1 and 3 hold number 1
    high = 0b10000100, 0b1  # voxels 2, 7 and 8 hold number 2
    assert packed.packed == bytes([*low, *high])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "shape", "negative", "huge", "bits"])
def test_damage_is_detected(damage: str) -> None:
    volume = pack(random_labels(3, (8, 8, 8)))
    damaged = {
        "flip": replace(volume, packed=bytes([volume.packed[0] ^ 1]) + volume.packed[1:]),
        "cut": replace(volume, packed=volume.packed[:-1]),
        "empty": replace(volume, packed=b""),
        "shape": replace(volume, shape=(8, 8, 7)),
        "negative": replace(volume, shape=(8, 8, -8)),
        "huge": replace(volume, shape=(2**31 - 1,) * 3),  # refused before anything is allocated
        "bits": replace(volume, bits_per_voxel=0, packed=b""),
    }[damage]
    with pytest.raises(InputError, match="damaged"):
        unpack(damaged)


def test_written_files_read_back(tmp_path: Path) -> None:
    labels = random_labels(3, (9, 8, 7))
    curves = {"s2[pore]": np.array([0.3, 0.2, 0.1], np.float32), "lineal_path[ni,z]": np.array([0.3, 0.0])}
    digest = VolumeWriter(tmp_path).write("a", labels, 2.25, curves)
    volume = read_volume(tmp_path, "a")
    np.testing.assert_array_equal(volume.labels, labels)
    assert (volume.structure_id, volume.voxel_size_um, volume.sha256) == ("a", 2.25, digest)
    assert digest == volume_sha256(labels)
    table = pq.read_table(tmp_path / "curves" / "a.parquet")
    assert table.schema.equals(CURVE_SCHEMA, check_metadata=True)
    rows = table.to_pylist()
    assert [(row["curve"], row["phase"], row["axis"]) for row in rows] == [
        ("s2", "pore", None),
        ("lineal_path", "ni", "z"),
    ]
    assert rows[0]["r_voxels"] == [0.0, 1.0, 2.0]
    assert rows[0]["value"] == pytest.approx([0.3, 0.2, 0.1])
    assert pq.read_schema(tmp_path / "volumes" / "a.parquet").equals(VOLUME_SCHEMA, check_metadata=True)


def test_a_volume_without_voxel_size_or_curves(tmp_path: Path) -> None:
    VolumeWriter(tmp_path).write("a", random_labels(2, (4, 4, 4)), None, {})
    assert read_volume(tmp_path, "a").voxel_size_um is None
    assert pq.read_table(tmp_path / "curves" / "a.parquet").num_rows == 0


def test_a_curve_needs_a_name_and_a_phase() -> None:
    with pytest.raises(AssertionError, match="not named"):
        curve_table("a", {"s2": np.zeros(3)})


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no volume"):
        read_volume(tmp_path, "a")
    VolumeWriter(tmp_path).write("a", random_labels(2, (16, 16, 16)), None, {})
    path = tmp_path / "volumes" / "a.parquet"
    table = pq.read_table(path)
    other = table.set_column(table.schema.get_field_index("sha256"), VOLUME_SCHEMA.field("sha256"), [["0" * 64]])
    pq.write_table(other, path)
    with pytest.raises(InputError, match=r"a\.parquet.*damaged"):
        read_volume(tmp_path, "a")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"a\.parquet: not a readable volume file"):
        read_volume(tmp_path, "a")
    for column in ("packed", "voxel_size_um"):
        pq.write_table(table.drop_columns([column]), path)
        with pytest.raises(InputError, match=r"a\.parquet"):
            read_volume(tmp_path, "a")


def test_a_damaged_number_is_seen_as_a_damaged_voxel_is(tmp_path: Path) -> None:
    """The sha256 is of the voxels; the pages have checksums of their own."""
    VolumeWriter(tmp_path).write("a", random_labels(2, (4, 4, 4)), 2.75, {})
    path = tmp_path / "volumes" / "a.parquet"
    content = path.read_bytes()
    refused = 0
    for place in (i for i in range(len(content)) if content[i : i + 2] == b"\x06@"):  # the last bytes of 2.75
        path.write_bytes(content[:place] + b"\x07" + content[place + 1 :])
        try:
            assert read_volume(tmp_path, "a").voxel_size_um == 2.75  # a copy among the statistics
        except InputError:
            refused += 1
    assert refused


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", "", "a b", "-a", "é"])
def test_a_structure_id_must_name_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="must name a file"):
        check_structure_id(name)
    with pytest.raises(InputError, match="must name a file"):
        VolumeWriter(tmp_path).write(name, random_labels(2, (4, 4, 4)), None, {})
    assert not list(tmp_path.iterdir())


def test_duckdb_reads_the_folder_while_temporary_files_exist(tmp_path: Path) -> None:
    writer = VolumeWriter(tmp_path)
    for name in ("a", "b"):
        writer.write(name, random_labels(2, (4, 4, 4)), None, {})
    (tmp_path / ".tmp" / "volumes-c.parquet").write_bytes(b"half a file")
    (tmp_path / ".tmp" / "c.parquet").write_bytes(b"half a file")
    found = duckdb.sql(f"SELECT structure_id, octet_length(packed) FROM '{tmp_path}/volumes/**/*.parquet' ORDER BY 1")
    assert found.fetchall() == [("a", 8), ("b", 8)]
