"""As much of the S3 protocol as pyarrow speaks, in memory: whole and multipart uploads, HEAD, ranges, listings.

moto would be the library for it; its dependency botocore asks for an older python-dateutil than the pinned one.
"""

import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BUCKET = "bucket"


@dataclass
class S3:
    """A running server with one bucket."""

    endpoint: str
    objects: dict[str, bytes] = field(default_factory=dict)
    """By key; an object is here once its upload is complete."""
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    """Every key that a listing has named."""
    refuse_writes: bool = False
    fail_complete: bool = False

    def uri(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}?scheme=http&endpoint_override={self.endpoint}&region=us-east-1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: S3

    def _where(self) -> tuple[str, str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        _, bucket, *key = parts.path.split("/", 2)
        return bucket, "".join(key), parse_qs(parts.query, keep_blank_values=True)

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _body(self) -> bytes:
        """Content of the request; it may come in the chunks of HTTP, of AWS, or in both."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            raw = self._chunks()
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return raw
        content, at = bytearray(), 0
        while at < len(raw):
            end = raw.index(b"\r\n", at)
            size = int(raw[at:end].split(b";")[0], 16)  # size;chunk-signature=...
            if size == 0:  # a checksum follows
                break
            content += raw[end + 2 : end + 2 + size]
            at = end + 2 + size + 2
        return bytes(content)

    def _chunks(self) -> bytes:
        content = bytearray()
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        bucket, key, query = self._where()
        if bucket != BUCKET:
            return self._refuse(404, "NoSuchBucket")
        if not key:
            return self._answer(200, self._listing(query))
        if key not in self.s3.objects:
            return self._refuse(404, "NoSuchKey")
        content = self.s3.objects[key]
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        stamp = {"Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "ETag": '"x"'}
        if not found:
            return self._answer(200, content, **stamp)
        first = int(found[1])
        part = content[first : int(found[2]) + 1 if found[2] else None]
        where = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return self._answer(206, part, Content_Range=where, **stamp)

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        """Objects right below a prefix, and the folders there."""
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        found, folders = "", set()
        for key, content in sorted(self.s3.objects.items()):
            head, cut, _ = key.removeprefix(prefix).partition(delimiter or "\0")
            if not key.startswith(prefix):
                continue
            if cut:
                folders.add(prefix + head + cut)
                continue
            stamp = "<LastModified>2024-01-01T00:00:00.000Z</LastModified>"
            found += f"<Contents><Key>{key}</Key>{stamp}<Size>{len(content)}</Size></Contents>"
            self.s3.listed.append(key)
        found += "".join(f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in sorted(folders))
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()

    def do_PUT(self) -> None:
        bucket, key, query = self._where()
        content = self._body()
        if bucket != BUCKET:
            return self._refuse(404, "NoSuchBucket")
        if self.s3.refuse_writes:
            return self._refuse(403, "AccessDenied")
        if "uploadId" in query:
            self.s3.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = content
        elif key:
            self.s3.objects[key] = content
        return self._answer(200, ETag='"x"')

    def do_POST(self) -> None:
        bucket, key, query = self._where()
        self._body()
        if bucket != BUCKET:
            return self._refuse(404, "NoSuchBucket")
        if self.s3.refuse_writes:
            return self._refuse(403, "AccessDenied")
        if "uploads" in query:
            name = uuid.uuid4().hex
            self.s3.uploads[name] = {}
            body = f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key>"
            return self._answer(200, f"{body}<UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode())
        if self.s3.fail_complete:
            return self._refuse(403, "AccessDenied")
        parts = self.s3.uploads.pop(query["uploadId"][0])
        self.s3.objects[key] = b"".join(parts[number] for number in sorted(parts))
        return self._answer(200, b'<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>')

    def do_DELETE(self) -> None:
        _, key, query = self._where()
        if "uploadId" in query:
            self.s3.uploads.pop(query["uploadId"][0], None)
        else:
            self.s3.objects.pop(key, None)
        self._answer(204)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run a server on a free port of this machine."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.s3 = S3(endpoint=f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield handler.s3
    finally:
        server.shutdown()
        server.server_close()
