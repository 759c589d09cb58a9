"""Where volumes and curves go: a folder that every node sees, or an object store.

Rows, the journal and the lock stay in the study's folder whatever the place is: only the driver touches those.
"""

import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from actors.files import TOKEN, check_token, clear_leftovers, node_refusal, write_atomically, write_token
from engine.errors import InputError, WorkError

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

VOLUMES = "volumes"
SCHEMES = ("s3", "gs")
ANONYMOUS = "anonymous"
"""The one user that a URI may name, `gs://anonymous@BUCKET`: without credentials."""
GCS_RETRY, GCS_RETRY_S = "retry_limit_seconds", 60
"""Google's library tries again for a quarter of an hour by itself, also without credentials."""
VOLUMES_URI = "volumes.uri"
"""In a study's folder: the object store that holds its volumes, where that is not the folder itself."""


class Place(Protocol):
    """Holds Parquet files by name, such as `volumes/0123.parquet`. Picklable: it travels to every actor."""

    def write(self, table: pa.Table, name: str) -> None:
        """Write a file so that it appears whole and durable, or not at all.

        Raises:
            WorkError: the place refused; nothing half-written is visible.
        """
        ...

    def write_token(self) -> str:
        """Put a new token here, from the driver. Raises WorkError where that is refused."""
        ...

    def check_token(self, token: str) -> None:
        """Refuse, with an InputError, a node that cannot read the token the driver wrote."""
        ...

    def clear_leftovers(self, *prefixes: str) -> None:
        """Remove what a killed writer left; call it while none runs."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder of a disk; shared by all nodes where there are several."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def write(self, table: pa.Table, name: str) -> None:
        write_atomically(table, self.path, name)

    def write_token(self) -> str:
        return write_token(self.path)

    def check_token(self, token: str) -> None:
        check_token(self.path, token)

    def clear_leftovers(self, *prefixes: str) -> None:
        clear_leftovers(self.path, *prefixes)


@dataclass(frozen=True)
class ObjectStore:
    """A prefix of an S3 or Google Cloud Storage bucket; credentials come from each node's environment.

    An object appears when its upload is complete: one PUT does what writing aside and renaming does on a disk.
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    def write(self, table: pa.Table, name: str) -> None:
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        self._put(name, buffer.getvalue())  # encoded before the upload begins: an error in between uploads nothing

    def read(self, name: str) -> pa.Table:
        """Read a Parquet file back; what pyarrow raises for a damaged one comes through.

        Raises:
            InputError: there is none.
            WorkError: the store does not answer.
        """
        content = self._get(name)
        if content is None:
            raise InputError(f"{self.uri}: holds no {name}; look into the study's table")
        return pq.read_table(pa.BufferReader(content), page_checksum_verification=True)

    def dataset(self, folder: str, schema: pa.Schema) -> "Dataset":
        """The Parquet files of a folder such as `curves` as one table, of which is read what is asked for.

        Raises:
            WorkError: the store does not answer.
        """
        from pyarrow import dataset, fs

        try:
            system, path = self._opened
            there = system.get_file_info(fs.FileSelector(f"{path}/{folder}", allow_not_found=True))
        except (OSError, pa.ArrowException) as error:
            raise WorkError(f"{self.uri}: {folder} could not be listed ({_first_line(error)})") from error
        files = sorted(each.path for each in there if each.is_file and each.extension == "parquet")
        if not files:
            return dataset.dataset(schema.empty_table())
        checked = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
        reader = dataset.ParquetFileFormat(default_fragment_scan_options=checked)
        return dataset.dataset(files, schema=schema, format=reader, filesystem=system)

    def write_token(self) -> str:
        token = uuid.uuid4().hex
        self._put(TOKEN, token.encode("ascii"))
        return token

    def check_token(self, token: str) -> None:
        try:
            found = self._get(TOKEN)
        except WorkError as error:
            raise InputError(node_refusal(self.uri, f"cannot read it ({error}); give every node credentials")) from None
        if found != token.encode("ascii"):
            raise InputError(node_refusal(self.uri, "reads something else there; give every node the same endpoint"))

    def clear_leftovers(self, *prefixes: str) -> None:
        """Nothing to do: an upload that was cut off is not visible."""

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from pyarrow import fs

        uri = self.uri
        if uri.startswith("gs:") and GCS_RETRY not in uri:
            uri += f"{'&' if '?' in uri else '?'}{GCS_RETRY}={GCS_RETRY_S}"
        system, path = fs.FileSystem.from_uri(uri)
        return system, path.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri}  # an open connection does not travel

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _put(self, name: str, content: Any) -> None:
        try:
            system, path = self._opened
            with system.open_output_stream(f"{path}/{name}") as stream:
                stream.write(content)
        except (OSError, pa.ArrowException) as error:
            raise WorkError(
                f"{self.uri}: {name} could not be written ({_first_line(error)}); see that the bucket exists and that "
                "the credentials may write to it, then give the same command again: it goes on where it stopped"
            ) from error

    def _get(self, name: str) -> bytes | None:
        try:
            system, path = self._opened
            with system.open_input_file(f"{path}/{name}") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException) as error:
            raise WorkError(f"{self.uri}: {name} could not be read ({_first_line(error)})") from error


def parse_store(text: str) -> ObjectStore:
    """An object store given on the command line.

    Raises:
        InputError: not `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`, or it holds a password.
    """
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise InputError(f"--volumes {text}: must be s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
    user = parts.netloc.rpartition("@")[0]
    if user not in ("", ANONYMOUS) or "secret" in parts.query.lower():
        raise InputError("--volumes: must not hold credentials, which would reach files and logs; set the environment")
    return ObjectStore(text)


def check_local(folder: Path) -> None:
    """Refuse an address where a folder must be.

    Raises:
        InputError: `folder` looks like a URI.
    """
    scheme, colon, rest = str(folder).partition(":")
    if colon and scheme.isalnum() and rest.startswith("/"):  # Path has made one slash of two
        uri = f"{scheme}:/{rest}" if not rest.startswith("//") else str(folder)
        raise InputError(
            f"--out {uri}: must be a folder on a disk: the journal and the lock of a study cannot live in an object "
            f"store; give --out DIR and --volumes {uri}"
        )


def place_of(study: Path) -> Folder | ObjectStore:
    """Where the volumes and curves of a study lie."""
    note = study / VOLUMES_URI
    return ObjectStore(note.read_text(encoding="utf-8").strip()) if note.is_file() else Folder(study)


def keeps_volumes(folder: Path) -> bool:
    """Whether a results folder has its volumes packed, here or in an object store, and not as files for people."""
    return (folder / VOLUMES_URI).is_file() or (folder / VOLUMES).is_dir()


def settle(study: Path, store: ObjectStore | None) -> Folder | ObjectStore:
    """Fix where the volumes of a study go; `study` is held by the caller. Its first run decides for all later ones.

    Raises:
        InputError: the study keeps its volumes elsewhere already.
    """
    note, wanted = study / VOLUMES_URI, "" if store is None else store.uri
    begun = (study / VOLUMES).is_dir()
    there = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
    if there != wanted and (there or begun):
        raise InputError(
            f"{study}: keeps its volumes in {there or 'its own folder'}, not in {wanted or 'its own folder'}; "
            + (f"go on with --volumes {there}" if there else "go on without --volumes")
            + ", or give another --out"
        )
    if store is not None and not there:
        temporary = study / f".{VOLUMES_URI}"
        temporary.write_text(store.uri + "\n", encoding="utf-8")
        temporary.replace(note)
    return place_of(study)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
