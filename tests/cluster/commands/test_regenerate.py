from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studies.table import SINGLE_FILE, read_structures
from tests.cluster.conftest import Call


@pytest.fixture
def made(call: Call, untrained: Path) -> str:
    """A structure designed into the folder `made`; its id."""
    target = ["--target", "fraction[pore]=0.5123456789±0.2"]  # more digits than the row keeps
    made = call("design", "--model", untrained, "--size", 32, "--seed", 5, "--steps", 2, "--out", "made", *target)
    assert made.status == 0, made.stderr
    name: str = read_structures(Path("made"))["structure_id"][0].as_py()
    return name


def change(column: str, value: object) -> None:
    """Change one cell of the table in `made`."""
    table = pq.read_table(Path("made") / SINGLE_FILE)
    place = table.column_names.index(column)
    changed = table.set_column(place, table.schema.field(column), pa.array([value], table.schema.field(column).type))
    pq.write_table(changed, Path("made") / SINGLE_FILE)


def test_a_structure_is_made_again_with_the_same_voxels_or_says_how_it_differs(
    call: Call, refused: Call, made: str, untrained: Path
) -> None:
    before = sorted(Path("made").iterdir())
    again = call("regenerate", "made", made, "--model", untrained)
    assert again.status == 0, again.stderr
    assert f"{made}: the same voxels" in again.stdout and sorted(Path("made").iterdir()) == before

    change("volume_sha256", "0" * 64)  # as if another kind of device had made it
    change("device", "cuda:0")
    other = call("regenerate", "made", made, "--model", untrained)
    assert other.status == 1
    assert "voxels that agree: 100.00%" in other.stdout and "fraction[pore]" in other.stdout
    assert "other voxels on cpu than on cuda:0" in other.stderr

    assert "no structure is called 'fff'" in refused("regenerate", "made", "fff")
    assert "no such folder" in refused("regenerate", "nowhere", made)
    assert "must name a file" in refused("regenerate", "made", "../x")
    change("bundle_hash", "f" * 64)
    line = refused("regenerate", "made", made, "--model", untrained)
    assert "ffffffffffff, which is not found" in line and "give it with --model" in line
