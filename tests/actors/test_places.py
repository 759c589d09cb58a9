import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.local_pool import LocalPool
from actors.places import VOLUMES_URI, Folder, ObjectStore, keeps_volumes, parse_store, place_of, settle
from actors.volumes import VOLUME_SCHEMA, VolumeWriter, read_volume
from engine.errors import InputError, WorkError
from tests.actors.fakes import fake_factory, voxels
from tests.actors.gcs_server import gcs_server, gs_uri
from tests.actors.s3_server import S3, s3_server
from tests.conformance.pool import collect, request, row_of

LABELS = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server() as server:
        yield server


def test_a_volume_is_written_to_a_store_and_read_back(s3: S3, tmp_path: Path) -> None:
    store = ObjectStore(s3.uri("studies/one"))
    settle(tmp_path, store)
    VolumeWriter(pickle.loads(pickle.dumps(place_of(tmp_path)))).write("a", LABELS, 2.25, {"s2[pore]": np.ones(3)})
    assert set(s3.objects) == {"studies/one/curves/a.parquet", "studies/one/volumes/a.parquet"}
    stored = read_volume(tmp_path, "a")
    np.testing.assert_array_equal(stored.labels, LABELS)
    assert stored.voxel_size_um == 2.25
    with pytest.raises(InputError, match=r"holds no volumes/b\.parquet"):
        read_volume(tmp_path, "b")
    s3.objects["studies/one/volumes/a.parquet"] = s3.objects["studies/one/volumes/a.parquet"][:100]
    with pytest.raises(InputError, match="not a readable volume file"):
        read_volume(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [VOLUMES_URI]


@pytest.mark.parametrize("megabytes", [1, 11])
def test_an_upload_that_is_cut_off_leaves_nothing_visible(s3: S3, megabytes: int) -> None:
    """Small objects go in one request, large ones in parts that are put together at the end."""
    table = pa.table({"a": np.random.default_rng(0).random(megabytes * 2**17)})
    store = ObjectStore(s3.uri("x"))
    s3.fail_complete = s3.refuse_writes = True
    with pytest.raises(WorkError, match=r"volumes/a\.parquet could not be written.*same command again") as caught:
        store.write(table, "volumes/a.parquet")
    assert "\n" not in str(caught.value)
    s3.refuse_writes = megabytes == 1
    with pytest.raises(WorkError):
        store.write(table, "volumes/a.parquet")
    assert not s3.objects
    s3.fail_complete = s3.refuse_writes = False
    store.write(table, "volumes/a.parquet")
    store.write(table, "volumes/a.parquet")  # twice is harmless
    assert store.read("volumes/a.parquet") == table


def test_a_node_that_cannot_read_the_store_is_refused_by_name(s3: S3) -> None:
    store = ObjectStore(s3.uri("x"))
    token = store.write_token()
    store.check_token(token)
    with pytest.raises(InputError, match="reads something else") as caught:
        ObjectStore(s3.uri("y")).check_token(token)
    assert socket.gethostname() in str(caught.value)
    with pytest.raises(InputError, match=rf"node {socket.gethostname()} cannot read it"):
        ObjectStore("s3://bucket/x?scheme=http&endpoint_override=127.0.0.1:9&region=us-east-1").check_token(token)


def test_a_store_that_refuses_stops_the_pool_with_a_clear_line(s3: S3) -> None:
    s3.refuse_writes = True
    with pytest.raises(WorkError, match="see that the bucket exists"):
        ObjectStore(s3.uri("x")).write_token()


@pytest.mark.parametrize(
    "text",
    [
        "bucket/x",
        "s3://",
        "http://host/x",
        "/mnt/x",
        "s3:bucket",
        "file:///tmp",
        "s3://key:secret@bucket/x",
        "gs://me@bucket/x",
    ],
)
def test_what_is_no_store_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--volumes") as caught:
        parse_store(text)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("text", ["s3://bucket/some/prefix", "gs://bucket/x", "s3://b?region=eu-west-1"])
def test_stores_are_named_by_uri(text: str) -> None:
    assert parse_store(text) == ObjectStore(text)


def test_the_first_run_of_a_study_decides_where_its_volumes_go(tmp_path: Path) -> None:
    one, other, plain = tmp_path / "one", tmp_path / "other", tmp_path / "plain"
    for folder in (one, other, plain):
        folder.mkdir()
    store = ObjectStore("s3://bucket/x")
    assert settle(one, store) == settle(one, store) == place_of(one) == store
    assert keeps_volumes(one) and not keeps_volumes(plain)
    with pytest.raises(InputError, match=r"keeps its volumes in s3://bucket/x, not in s3://bucket/y; go on with"):
        settle(one, ObjectStore("s3://bucket/y"))
    with pytest.raises(InputError, match="go on with --volumes s3://bucket/x"):
        settle(one, None)
    assert settle(plain, None) == Folder(plain)
    assert settle(plain, store) == store  # nothing was written yet
    VolumeWriter(other).write("a", LABELS, None, {})
    with pytest.raises(InputError, match=r"keeps its volumes in its own folder.*go on without --volumes"):
        settle(other, store)


def test_a_pool_writes_to_a_store(s3: S3, tmp_path: Path) -> None:
    store = ObjectStore(s3.uri("run"))
    settle(tmp_path, store)
    with LocalPool(fake_factory(tmp_path / "scratch"), store, batch_size=2, code_version="test") as pool:
        row_of(collect(pool, [request("a")])["a"])
    np.testing.assert_array_equal(read_volume(tmp_path, "a").labels, voxels(request("a")))
    assert VOLUME_SCHEMA.field("packed").type == pa.binary()


@pytest.fixture(scope="module")
def gcs() -> Iterator[str]:
    with gcs_server() as endpoint:
        yield endpoint


def test_google_cloud_storage_holds_what_a_pool_makes(gcs: str, tmp_path: Path) -> None:
    store = parse_store(gs_uri(gcs, "studies/one"))
    assert store.dataset("volumes", VOLUME_SCHEMA).count_rows() == 0
    store.check_token(store.write_token())
    with pytest.raises(InputError, match="reads something else"):
        ObjectStore(gs_uri(gcs, "studies/other")).check_token(store.write_token())
    settle(tmp_path, store)
    with LocalPool(fake_factory(tmp_path / "scratch"), store, batch_size=2, code_version="test") as pool:
        row_of(collect(pool, [request("a")])["a"])
    np.testing.assert_array_equal(read_volume(tmp_path, "a").labels, voxels(request("a")))
    assert store.dataset("volumes", VOLUME_SCHEMA).to_table(["structure_id"]).to_pylist() == [{"structure_id": "a"}]
    with pytest.raises(InputError, match=r"holds no volumes/b\.parquet"):
        read_volume(tmp_path, "b")
    with pytest.raises(WorkError, match="see that the bucket exists"):
        ObjectStore(gs_uri(gcs, "x").replace("@bucket", "@nowhere")).write_token()
