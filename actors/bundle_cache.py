"""Bundles on their way to the nodes of a cluster: sent once by content hash, cached in a folder of each node.

The driver packs a bundle's two files and puts them into Ray's object store. An actor whose node has no folder of that
hash fetches and unpacks them. Nothing is unpickled from the files, and their hash is checked before they are used.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.engines import BundleEngine
from engine.errors import InputError, WorkError

CACHE_VARIABLE = "MESOFORGE_CACHE"


@dataclass(frozen=True, kw_only=True)
class SentBundle:
    """A bundle as an actor receives it; small and picklable, the content is fetched where it is missing."""

    name: str
    """As requests call it."""
    content_hash: str
    """sha256 over the files."""
    files: Any
    """Reference of {file name: bytes} in Ray's object store, or that mapping itself."""


def pack_bundle(name: str) -> dict[str, bytes]:
    """The files of a bundle given by name or path. Raises InputError where there is none."""
    from engine.models.bundle import CARD, WEIGHTS, read_card

    folder = read_card(name).folder
    try:
        return {file: (folder / file).read_bytes() for file in (CARD, WEIGHTS)}
    except OSError as error:
        raise InputError(f"bundle {name}: cannot be read ({error}); restore it") from None


def content_hash(files: Mapping[str, bytes]) -> str:
    """sha256 over names and contents, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()


def send_bundle(name: str) -> SentBundle:
    """Put a bundle into Ray's object store, for every node to fetch. Ray must be connected."""
    import ray

    files = pack_bundle(name)
    return SentBundle(name=name, content_hash=content_hash(files), files=ray.put(files))


def cache_folder() -> Path:
    """Where this node keeps bundles: MESOFORGE_CACHE, else the user's cache folder, else one of this user's in /tmp."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    with contextlib.suppress(OSError, RuntimeError):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mesoforge"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.gettempdir()) / f"mesoforge-cache-{os.getuid()}"


def receive_bundle(sent: SentBundle, cache: Path) -> Path:
    """Folder of a sent bundle on this node; fetched and written, whole or not at all, where it is not there yet.

    Raises:
        WorkError: the cache cannot be written, or what arrived is not what was sent.
    """
    folder = cache / "bundles" / sent.content_hash
    if _holds(folder, sent.content_hash):
        return folder
    files = _fetch(sent.files)
    if content_hash(files) != sent.content_hash:
        raise WorkError(f"bundle {sent.name}: did not arrive as it was sent; give the same command again")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder.parent / f".{sent.content_hash[:16]}.{uuid.uuid4().hex[:8]}"
        temporary.mkdir(mode=0o700)
        try:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            if folder.exists() and not _holds(folder, sent.content_hash):
                shutil.rmtree(folder)  # damaged
            with contextlib.suppress(OSError):  # another actor of this node was faster
                os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise WorkError(
            f"bundle cache {cache}: cannot be written ({error.strerror or error}); set {CACHE_VARIABLE} to a folder "
            "with space on every node"
        ) from error
    if not _holds(folder, sent.content_hash):
        raise WorkError(f"bundle cache {folder}: is damaged and could not be mended; remove it")
    return folder


def engine_of_sent(device: str, bundles: tuple[SentBundle, ...]) -> BundleEngine:
    """For `partial(engine_of_sent, device, bundles)`: the engine of a node that may not see the driver's bundles."""
    cache = cache_folder()
    return BundleEngine(device, folders={sent.name: receive_bundle(sent, cache) for sent in bundles})


def _holds(folder: Path, wanted: str) -> bool:
    """Whether the folder has exactly the files of that hash."""
    try:
        return content_hash({path.name: path.read_bytes() for path in folder.iterdir()}) == wanted
    except OSError:
        return False


def _fetch(files: Any) -> Mapping[str, bytes]:
    if isinstance(files, Mapping):
        return files
    import ray

    fetched: Mapping[str, bytes] = ray.get(files)
    return fetched
