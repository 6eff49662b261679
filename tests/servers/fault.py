"""An S3 written for the tests: as strict as the real one, in memory, and it fails exactly where a test asks for it.

    with FaultServer() as server:
        server.fault("Complete", Reset(), when="after")     # published, and the reply is lost
        ...
        assert server.log.ops() == ["Create", "Part", "Complete", "List"]

`python -m tests.servers.fault --discard` serves from a process of its own and prints its URL; `fault_child.py` starts
that for the length of a `with`.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink.sandbox.admin import ListedObject, PendingUpload, Writer
from tests.servers import checksums, documents
from tests.servers.endpoint import Endpoint
from tests.servers.intake import take_in
from tests.servers.rules import MIB, Rules, S3Error
from tests.servers.signature import check_signature
from tests.servers.store import Store, StoredObject
from tests.servers.wire import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.operations import Request
    from tests.servers.strike import Incoming

_XML = ("Content-Type", "application/xml")
_KEPT = ("content-type", "content-encoding", "content-disposition", "cache-control")


class FaultServer(Endpoint):
    """The test server in a thread of this process; `writer` is a bucket in it and a key for it."""

    def __init__(self, rules: Rules | None = None, *, port: int = 0, certificate: Path | None = None) -> None:
        self.rules = rules or Rules()
        latency, bandwidth = self.rules.latency, self.rules.bandwidth
        super().__init__(port=port, latency=latency, bandwidth=bandwidth, certificate=certificate)
        self.store = Store(self.rules)
        self.writer = Writer(self.url, self.rules.buckets[0], self.rules.credentials[0])
        self._operations: dict[str, Callable[[Request, Incoming], Reply]] = {
            "Put": self._put,
            "PutAcl": self._put_acl,
            "Create": self._create,
            "Part": self._part,
            "Complete": self._complete,
            "Abort": self._abort,
            "List": self._list,
            "ListUploads": self._list_uploads,
            "HeadBucket": self._head_bucket,
        }
        # A store that reads over checksums has none that it doesn't know.
        unknown = checksums.refusals(self.rules) if self.rules.checksums == "honoured" else ()
        self._refusals = (*self.rules.refusals, *unknown)
        self._secrets = {one.key: one.secret for one in self.rules.credentials}

    @property
    def bucket(self) -> str:
        """The first bucket's name."""
        return self.writer.bucket

    @property
    def storage_options(self) -> dict[str, Any]:
        """The writer's key and address by s3fs's names."""
        return self.writer.storage_options

    def listing(self, bucket: str, prefix: str = "") -> dict[str, ListedObject]:
        """Return every visible object whose key starts with `prefix`."""
        found = self.store.bucket(bucket).copy()
        return {key: ListedObject(one.size, one.etag) for key, one in sorted(found.items()) if key.startswith(prefix)}

    def pending_uploads(self, bucket: str) -> list[PendingUpload]:
        """Return the multipart uploads that are open in the bucket."""
        found = self.store.uploads.copy()
        return [PendingUpload(one.key, upload_id) for upload_id, one in found.items() if one.bucket == bucket]

    def stored(self, bucket: str, key: str) -> StoredObject:
        """Return everything that is known about an object, the headers it was made with included."""
        return self.store.bucket(bucket)[key]

    def read(self, bucket: str, key: str) -> bytes:
        """Return the object's bytes, if bodies are kept; raises where they are lost."""
        found = self.stored(bucket, key)
        if found.destroyed:
            raise LookupError(f"{key} is listed, and its bytes are gone: its upload was aborted.")
        return b"".join(found.data)

    def destroyed(self, bucket: str) -> list[str]:
        """Return the keys of objects that are listed, and whose bytes an Abort of their upload has taken."""
        return [key for key, one in self.store.bucket(bucket).items() if one.destroyed]

    def put_foreign(self, bucket: str, key: str, data: bytes) -> None:
        """Put an object of another writer at a key, over any object there."""
        digest = checksums.summing("md5")
        digest.update(memoryview(data))
        self.store.bucket(bucket)[key] = StoredObject(len(data), digest.digest().hex(), {}, data=(data,))

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Check who asks and whether they may, and do it."""
        try:
            check_signature(request, self._secrets)
            self._check_granted(request)
            self._check_headers(request)
            return self._do(request, incoming)
        except S3Error as error:
            return self.error(request, error.status, error.code, str(error))

    def error(self, request: Request, status: int, code: str, message: str) -> Reply:
        """Return S3's error document."""
        return self._reply(request, documents.error_document(request, code, message), _XML, status=status)

    def _check_granted(self, request: Request) -> None:
        needed = {request.op}
        if request.op in {"Put", "Create"}:
            needed |= {"PutAcl"} if "x-amz-acl" in request.headers else set()
            needed |= {"PutTagging"} if "x-amz-tagging" in request.headers else set()
        if not needed <= set(self.rules.granted):
            raise S3Error(403, "AccessDenied", "Access Denied")

    def _check_headers(self, request: Request) -> None:
        """Refuse what this store doesn't take."""
        for refusal in self._refusals:
            if refusal.meets(request.op, request.headers):
                raise refusal.error(request.headers)

    def _do(self, request: Request, incoming: Incoming) -> Reply:
        do = self._operations.get(request.op)
        if do is None:
            raise S3Error(501, "NotImplemented", f"{request.op} is not implemented here.")
        self.store.bucket(request.bucket)
        return do(request, incoming)

    def _put(self, request: Request, incoming: Incoming) -> Reply:
        taken = take_in(request, incoming.pieces(), self.rules)
        made = self.store.put(request.bucket, request.key, taken, _kept_headers(request))
        return self._reply(request, b"", *_about(made))

    def _put_acl(self, request: Request, _: Incoming) -> Reply:
        """Accept an ACL, which has no effect, if the object exists."""
        if request.key not in self.store.bucket(request.bucket):
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        return self._reply(request, b"")

    def _create(self, request: Request, _: Incoming) -> Reply:
        upload_id = self.store.create(request.bucket, request.key, _kept_headers(request))
        upload = self.store.uploads[upload_id]
        about = (("algorithm", upload.algorithm.upper()), ("type", upload.kind)) if upload.algorithm else ()
        summed = [(checksums.PREFIX + name, value) for name, value in about]
        return self._reply(request, documents.created(request, upload_id), _XML, *summed)

    def _part(self, request: Request, incoming: Incoming) -> Reply:
        number, upload_id = request.part_number or 0, request.upload_id or ""
        if not 1 <= number <= self.rules.max_parts:
            raise S3Error(400, "InvalidArgument", f"Part number must be between 1 and {self.rules.max_parts}")
        upload = self.store.upload(request.bucket, request.key, upload_id)
        claim = checksums.claimed(request.headers)
        if upload.algorithm and claim and claim[0] != upload.algorithm:
            wanted = f"expected checksum Type: {upload.algorithm}, actual checksum Type: {claim[0]}"
            raise S3Error(400, "InvalidRequest", f"Checksum Type mismatch occurred, {wanted}")
        taken = take_in(request, incoming.pieces(), self.rules, algorithm=upload.algorithm)
        taken = self.store.add_part(request.bucket, request.key, upload_id, number, taken)
        sums = [(checksums.PREFIX + name, value) for name, value in taken.sums.items()]
        return self._reply(request, b"", ("ETag", f'"{taken.etag}"'), *sums)

    def _complete(self, request: Request, incoming: Incoming) -> Reply:
        claims = documents.part_claims(b"".join(map(bytes, incoming.pieces())))
        where = (request.bucket, request.key, request.upload_id or "")
        made = self.store.complete(*where, claims, _kept_headers(request))
        version = [("x-amz-version-id", made.version_id)] if made.version_id else []
        return self._reply(request, documents.completed(request, self.url, made), _XML, *version)

    def _abort(self, request: Request, _: Incoming) -> Reply:
        self.store.abort(request.bucket, request.key, request.upload_id or "")
        return self._reply(request, b"", status=204)

    def _list(self, request: Request, _: Incoming) -> Reply:
        found = self.store.bucket(request.bucket).copy()
        return self._reply(request, documents.listed(request, found, self.rules.list_page), _XML)

    def _list_uploads(self, request: Request, _: Incoming) -> Reply:
        found = self.store.uploads.copy()
        return self._reply(request, documents.uploads_listed(request, found, self.rules.list_page), _XML)

    def _head_bucket(self, request: Request, _: Incoming) -> Reply:
        return self._reply(request, b"", ("x-amz-bucket-region", "us-east-1"))

    def _reply(self, request: Request, body: bytes, *headers: tuple[str, str], status: int = 200) -> Reply:
        return Reply(status, body, (("x-amz-request-id", f"{request.n:016X}"), ("Server", "FaultServer"), *headers))


def _kept_headers(request: Request) -> dict[str, str]:
    """Return what the client asked for that outlives the request, and the conditions it set."""
    kept = (*_KEPT, "if-none-match")
    return {name: value for name, value in request.headers.items() if name in kept or name.startswith("x-amz-")}


def _about(made: StoredObject) -> list[tuple[str, str]]:
    headers = [("ETag", f'"{made.etag}"')]
    if made.checksum:
        headers += [
            (checksums.PREFIX + made.checksum.algorithm, made.checksum.value),
            ("x-amz-checksum-type", made.checksum.kind),
        ]
    if made.version_id:
        headers.append(("x-amz-version-id", made.version_id))
    return headers


def main() -> None:
    """Serve until killed, from a process of its own, and print the URL."""
    parser = argparse.ArgumentParser(description="An S3 in memory, for tests and benchmarks.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--discard", action="store_true", help="count the bodies' bytes and check nothing")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--mib-per-second", type=float, default=None)
    parser.add_argument("--certificate", type=Path, default=None, help="a key and its chain in PEM: speak https")
    given = parser.parse_args()
    rules = Rules(
        bodies="count" if given.discard else "keep",
        latency=given.latency_ms / 1000,
        bandwidth=given.mib_per_second * MIB if given.mib_per_second else None,
    )
    with FaultServer(rules, port=given.port, certificate=given.certificate) as server:
        print(server.url, flush=True)  # noqa: T201  the caller waits for it
        signal.pause()


if __name__ == "__main__":
    main()
