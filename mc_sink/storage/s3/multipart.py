"""Upload parts, several at a time. Completes no upload.

Memory is bounded by the parts in flight × the part size, and one part more being cut. Parts grow, doubling every
900, so that 10,000 of them hold more than 10 TiB from any first size; while they grow, fewer are in flight.
Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mc_sink._display import logger
from mc_sink.exceptions import ConfigurationError, UploadError
from mc_sink.staged import Multipart, Part, Upload, Whole
from mc_sink.storage.s3 import uploads
from mc_sink.storage.s3.client import SUMS_SENT, UNCLEAR, wait_for
from mc_sink.storage.s3.errors import altered, translated
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.http import PartBody
from mc_sink.storage.s3.store_ways import SIGNED, SentBody, is_encrypted, proof_of
from mc_sink.storage.s3.sums import SUMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.receipt import Integrity
    from mc_sink.staged import Sums
    from mc_sink.storage.s3.client import Requests

_log = logger(__name__)
MIB = 2**20
# An abort is a courtesy: it must not keep a failed delivery from ending.
ABORT_SECONDS = 2.0
NO_CONTENT = 204
# A part whose reply doesn't prove it is sent so often.
TRIES = 4
LIFECYCLE = "a lifecycle rule with AbortIncompleteMultipartUpload removes it"


@dataclass(frozen=True, slots=True, eq=False)
class PartPlan:
    """How an upload is cut: bytes of a first part, how many before parts double, and how many are in flight.

    Parts that are `equal` don't double: then 10,000 of 16 MiB hold 156 GiB, and more needs a larger first part.

    Measured: 16 MiB take half the requests of 8, and 4 % less time for a whole delivery. Unless a number of parts is
    given, as many are in flight as 64 MiB hold, and at least two.
    """

    first_size: int = 16 * MIB
    doubles_every: int = 900
    in_flight: int | None = None
    max_parts: int = 10_000
    max_size: int = 5 * 1024 * MIB
    min_size: int = 5 * MIB
    equal: bool = False

    def __post_init__(self) -> None:
        if not self.min_size <= self.first_size <= self.max_size or (self.in_flight is not None and self.in_flight < 1):
            raise ConfigurationError(
                f"default_block_size={self.first_size:,} with max_concurrency={self.in_flight}: S3 takes parts of "
                f"{self.min_size:,} to {self.max_size:,} bytes, and at least one must be in flight."
            )

    def size(self, number: int) -> int:
        """Bytes of part `number`, counted from 1."""
        if self.equal:
            return self.first_size
        return min(self.first_size << (number - 1) // self.doubles_every, self.max_size)

    @property
    def most_bytes(self) -> int | None:
        """The most that an upload may have; None where parts grow, and S3's own limit is reached first."""
        return self.first_size * self.max_parts if self.equal else None

    @property
    def bytes_in_flight(self) -> int:
        """What may be on its way at once; a single part may be more than that."""
        return self.first_size * (self.in_flight or max(2, 64 * MIB // self.first_size))


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """A part on its way, with its body: what the reply doesn't prove is sent again."""

    part: Part
    body: PartBody
    tries: int = 1


class S3Parts:
    """Takes the bytes of one object and stores them as parts of a multipart upload, or keeps them if they are few."""

    def __init__(  # noqa: PLR0913  what an upload is made of
        self,
        requests: Requests,
        bucket: str,
        key: str,
        options: Mapping[str, Any],
        plan: PartPlan,
        *,
        keeps_whole: bool,
    ) -> None:
        self._requests = requests
        self._object = {"Bucket": bucket, "Key": key}
        self._url = f"s3://{bucket}/{key}"
        self._options = options
        self._plan = plan
        self._keeps_whole = keeps_whole
        self._pieces: deque[memoryview] = deque()
        self._buffered = 0
        self._upload_id: str | None = None
        self._sums: Sums = "none"
        self._sent = 0
        self._in_flight: dict[Future[dict[str, Any]], _Sent] = {}
        self._stored: list[Part] = []
        self._creating: Future[dict[str, Any]] | None = None
        self._stopped = Future[None]()

    def write(self, data: bytes) -> None:
        """Take bytes; a full part goes off, and waits for one in flight to arrive when there are enough of them."""
        self._pieces.append(memoryview(data))
        self._buffered += len(data)
        while self._buffered >= (size := self._plan.size(self._sent + 1)):
            self._send(PartBody(self._cut(size)))

    def finish(self) -> Upload:
        """Send the rest, wait for every part, and give the upload.

        Bytes of less than a part are kept as they are, unless they are one file of several, whose memory adds up.
        """
        if self._upload_id is None and (self._keeps_whole or not self._buffered):
            return Whole(**_lower(self._object), body=b"".join(self._cut(self._buffered)), options=dict(self._options))
        if self._buffered:
            self._send(PartBody(self._cut(self._buffered)))
        while self._in_flight:
            self._arrive()
        parts = tuple(sorted(self._stored, key=lambda part: part.number))
        return Multipart(**_lower(self._object), upload_id=str(self._upload_id), parts=parts, sums=self._sums)

    def stop(self) -> None:
        """Cancel what is in flight; a `write` that waits raises. A Create goes on: its upload is to be aborted."""
        with suppress(InvalidStateError):
            self._stopped.set_result(None)
        for future in tuple(self._in_flight):
            future.cancel()

    def abort(self) -> str | None:
        """Abort the upload if one was begun; see `abort_upload`."""
        self.stop()
        wait(tuple(self._in_flight))
        self._pieces.clear()
        if self._creating is None:
            return None
        try:
            upload_id = self._upload_id or wait_for(self._creating, ABORT_SECONDS).get("UploadId")
        except TimeoutError:
            return self._stray(1)
        except RequestFailed as failed:
            return self._stray(1) if failed.uncertain else None
        return abort_upload(self._requests, self._object, str(upload_id)) if upload_id else None

    def _cut(self, size: int) -> list[memoryview]:
        """Take the first `size` buffered bytes."""
        taken: list[memoryview] = []
        missing = size
        while missing:
            piece = self._pieces.popleft()
            taken.append(piece[:missing])
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
            missing -= len(taken[-1])
        self._buffered -= size
        return taken

    def _send(self, body: PartBody) -> None:
        if self._sent == self._plan.max_parts:
            raise UploadError(
                f"{self._url} has more than {self._plan.max_parts:,} parts, the first of {self._plan.first_size:,} "
                "bytes. Deliver several files (max_rows_per_file or max_bytes_per_file), or pass a larger "
                f"default_block_size in storage_options."
            )
        if self._upload_id is None:
            self._upload_id = self._create()
        while self._in_flight and self._bytes_in_flight() + len(body) > self._plan.bytes_in_flight:
            self._arrive()
        if self._stopped.done():
            raise self._stop_error()
        self._sent += 1
        checksum = SUMS[self._sums].of(body.pieces) if self._sums != "none" else None
        self._start(_Sent(Part(self._sent, "", len(body), checksum), body))

    def _start(self, sent: _Sent) -> None:
        future = self._requests.start(
            "upload_part",
            **self._object,
            UploadId=self._upload_id,
            PartNumber=sent.part.number,
            Body=sent.body,
            **({SUMS[self._sums].parameter: sent.part.checksum} if sent.part.checksum else {}),
        )
        self._in_flight[future] = sent

    def _bytes_in_flight(self) -> int:
        return sum(sent.part.num_bytes for sent in self._in_flight.values())

    def _create(self) -> str:
        kind = SUMS["full"].of_create if self._requests.sums_parts else {}
        self._creating = self._requests.start("create_multipart_upload", **self._object, **self._options, **kind)
        awaited: tuple[Future[Any], ...] = (self._creating, self._stopped)
        wait(awaited, return_when=FIRST_COMPLETED)
        if self._stopped.done():
            raise self._stop_error()
        reply = self._reply(self._creating, self._url)
        if not reply.get("UploadId"):
            raise UploadError(f"The store began an upload of {self._url} without naming it.")
        if unclear := reply.get(UNCLEAR):
            _log.warning("%s", self._stray(unclear))
        self._sums = _sums_of(reply) if kind else "none"
        uploads.begin(str(reply["UploadId"]))
        return str(reply["UploadId"])

    def _stray(self, number: int) -> str:
        """Say that an upload may be there whose id only the store knows."""
        asked, it = ("An upload was", "It") if number == 1 else (f"{number} uploads were", "They")
        return f"{asked} asked for at {self._url} and not answered. {it} may be there, without parts: {LIFECYCLE}."

    def _arrive(self) -> None:
        """Wait until a part in flight has arrived, and note what the store's reply proves of it."""
        for future in wait(tuple(self._in_flight), return_when=FIRST_COMPLETED).done:
            sent = self._in_flight.pop(future)
            number = sent.part.number
            reply = self._reply(future, f"{self._url}, part {number}")
            if not reply.get("ETag"):
                raise UploadError(f"The store took part {number} of {self._url} without an ETag.")
            if integrity := self._proven(sent, reply):
                self._stored.append(replace(sent.part, etag=str(reply["ETag"]), integrity=integrity))
                sent.body.free()

    def _proven(self, sent: _Sent, reply: Mapping[str, Any]) -> Integrity | None:
        """Return how a part was proven to have arrived; None where it wasn't, and was sent again."""
        body = SentBody(sent.body.md5, is_encrypted(self._options))
        integrity = proof_of(body, reply, self._requests.ways)
        better = not reply.get(SIGNED) and self._requests.signs("upload_part")
        if integrity and not (integrity == "unproven" and better):
            return integrity
        if sent.tries < TRIES:
            self._start(replace(sent, tries=sent.tries + 1))
            return None
        if integrity is None:
            raise altered(f"{self._url}, part {sent.part.number}", sent.tries)
        return integrity

    def _reply(self, future: Future[dict[str, Any]], where: str) -> dict[str, Any]:
        try:
            return future.result()
        except CancelledError as cancelled:
            raise self._stop_error() from cancelled
        except RequestFailed as failed:
            raise translated(failed, where) from failed

    def _stop_error(self) -> UploadError:
        return UploadError(f"The upload of {self._url} was stopped.")


def _sums_of(reply: Mapping[str, Any]) -> Sums:
    """Return the checksum that an upload was created with, after its store has refused another or made it so."""
    sums: Sums = reply.get(SUMS_SENT, "full")
    return "composite" if sums == "full" and reply.get("ChecksumType") == "COMPOSITE" else sums


def abort_upload(requests: Requests, where: Mapping[str, str], upload_id: str) -> str | None:
    """Ask the store to throw an upload away; a sentence where it refused, so that nobody pays for it unknowingly."""
    try:
        reply = wait_for(requests.start("abort_multipart_upload", **where, UploadId=upload_id), ABORT_SECONDS)
    except TimeoutError:
        reason = f"no reply in {ABORT_SECONDS:.0f} s"
    except RequestFailed as failed:
        if failed.code == "NoSuchUpload":
            return None
        reason = str(failed)
    else:
        if reply.get("ResponseMetadata", {}).get("HTTPStatusCode", NO_CONTENT) == NO_CONTENT:
            uploads.forget(upload_id)
            return None
        reason = "the reply was not an answer to the request"
    return (
        f"The upload {upload_id} of s3://{where['Bucket']}/{where['Key']} could not be aborted ({reason}). It is "
        f"invisible but stored: {LIFECYCLE}."
    )


def not_aborted(url: str, upload_id: str) -> str:
    """Say that an upload was left alone, because an Abort may destroy the object that was made of it."""
    return f"The upload {upload_id} may be the object at {url}, so it was not aborted. If it isn't, {LIFECYCLE}."


def are_unlike(parts: Sequence[Part]) -> bool:
    """Return True if the parts of an upload, but for a smaller last one, aren't all of one size."""
    return any(part.num_bytes != parts[0].num_bytes for part in parts[:-1]) or (
        bool(parts) and parts[-1].num_bytes > parts[0].num_bytes
    )


def _lower(where: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in where.items()}
