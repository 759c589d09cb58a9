import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.bundle_cache import SentBundle, cache_folder, content_hash, engine_of_sent, pack_bundle, receive_bundle
from actors.engines import BundleEngine
from engine.errors import InputError, WorkError
from engine.request import Request
from tests.bundles import write_untrained_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver") / "noise"
    write_untrained_bundle(folder)
    return folder


@pytest.fixture
def sent(bundle: Path) -> SentBundle:
    files = pack_bundle(str(bundle))
    return SentBundle(name="noise", content_hash=content_hash(files), files=files)


def test_a_bundle_arrives_as_it_was_sent(sent: SentBundle, bundle: Path, tmp_path: Path) -> None:
    folder = receive_bundle(sent, tmp_path)
    assert folder == tmp_path / "bundles" / sent.content_hash
    assert {path.name for path in folder.iterdir()} == {"card.json", "weights.safetensors"}
    for path in folder.iterdir():
        assert path.read_bytes() == (bundle / path.name).read_bytes()
    assert list(folder.parent.iterdir()) == [folder]  # nothing temporary stays


def test_what_is_cached_is_not_fetched_again(sent: SentBundle, tmp_path: Path) -> None:
    receive_bundle(sent, tmp_path)
    absent = replace(sent, files=None)  # fetching would raise
    assert receive_bundle(absent, tmp_path).is_dir()


@pytest.mark.parametrize("damage", ["cut", "missing", "extra"])
def test_a_damaged_cache_is_mended(sent: SentBundle, tmp_path: Path, damage: str) -> None:
    folder = receive_bundle(sent, tmp_path)
    weights = folder / "weights.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "missing":
        weights.unlink()
    else:
        (folder / "more").write_text("x")
    receive_bundle(sent, tmp_path)
    assert content_hash({path.name: path.read_bytes() for path in folder.iterdir()}) == sent.content_hash


def test_what_arrives_changed_is_refused(sent: SentBundle, tmp_path: Path) -> None:
    changed = dict(sent.files) | {"card.json": b"{}"}
    with pytest.raises(WorkError, match="did not arrive as it was sent"):
        receive_bundle(replace(sent, files=changed), tmp_path)
    assert not (tmp_path / "bundles").exists()


def test_a_cache_that_cannot_be_written_is_a_clear_error(sent: SentBundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="set MESOFORGE_CACHE to a folder with space"):
        receive_bundle(sent, tmp_path / "file")


def test_the_engine_of_a_node_works_without_the_drivers_folder(
    sent: SentBundle, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESOFORGE_CACHE", str(tmp_path / "cache"))
    wanted = Request(structure_id="a", bundle=str(bundle), shape=(32, 32, 32), seed=1)
    (here,) = BundleEngine().generate([wanted])
    away = tmp_path / "away"
    shutil.move(bundle, away)
    try:
        engine = engine_of_sent("cpu", (replace(sent, name=str(bundle)),))
        assert engine.card(str(bundle)).name == "noise"
        (there,) = engine.generate([wanted])
        with pytest.raises(InputError):
            BundleEngine().card(str(bundle))
    finally:
        shutil.move(away, bundle)
    np.testing.assert_array_equal(here.labels, there.labels)


def test_the_cache_lies_where_it_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESOFORGE_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("MESOFORGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mesoforge"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder().name.startswith("mesoforge-cache-")


def test_a_bundle_that_is_none_is_refused_where_it_is_sent() -> None:
    with pytest.raises(InputError, match="no bundle 'nonsense'"):
        pack_bundle("nonsense")
