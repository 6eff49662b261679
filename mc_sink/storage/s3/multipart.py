"""Upload the parts of one object, several at a time. Completes no upload.

    write a full part ─► _send ─► _create the upload, before the first part
                               ─► _arrive, until few enough bytes are in flight
                               ─► _start the request
    _arrive waits for a reply ─► _proven? ─► stored, and its bytes are freed
                                         ─► sent again, at most 4 times

`part_plan.py` says how an upload is cut, and how much of it may be in flight.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

from mc_sink._display import logger
from mc_sink.exceptions import UploadError
from mc_sink.staged import Multipart, Part, Upload, Whole
from mc_sink.storage.s3.checksums import SUMS
from mc_sink.storage.s3.client import wait_for
from mc_sink.storage.s3.errors import altered, translated
from mc_sink.storage.s3.evidence import SentBody, is_encrypted, proof_of
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.part_memory import PartMemory
from mc_sink.storage.s3.part_plan import MIB, PartPlan, Width
from mc_sink.storage.s3.request import SIGNED, SUMS_SENT, UNCLEAR, PartBody

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mc_sink.receipt import Integrity
    from mc_sink.staged import Report, Sums
    from mc_sink.storage.s3.client import Requests

_log = logger(__name__)
# An abort is a courtesy: it must not keep a failed delivery from ending.
ABORT_SECONDS = 2.0
NO_CONTENT = 204
# How often a part is sent whose reply doesn't prove it.
MAX_ATTEMPTS = 4
# The largest object that is kept as its bytes, whatever the size of a part: a journal holds them as text.
MAX_KEPT = 16 * MIB
LIFECYCLE = "a lifecycle rule with AbortIncompleteMultipartUpload removes"


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """A part in flight, with its body: it is sent again if the reply doesn't prove it."""

    part: Part
    body: PartBody
    attempts: int = 1


class S3Parts:
    """Stores the bytes of one object as parts of a multipart upload, or keeps them if they are few."""

    def __init__(  # noqa: PLR0913  each is a fact of its own
        self,
        requests: Requests,
        bucket: str,
        key: str,
        options: Mapping[str, Any],
        plan: PartPlan,
        *,
        keeps_whole: bool,
        report: Report | None = None,
        stored: Callable[[int], object] = lambda _num_bytes: None,
    ) -> None:
        self._requests = requests
        self._report, self._report_stored = report, stored
        self._object = {"Bucket": bucket, "Key": key}
        self._url = f"s3://{bucket}/{key}"
        self._options = options
        self._plan = plan
        self._keeps_whole = keeps_whole
        self._memory = PartMemory(plan.first_size)
        self._buffered = self._buffered_crc = self._sent_crc = 0
        self._upload_id: str | None = None
        self._sums: Sums = "none"
        self._sent = 0
        self._in_flight: dict[Future[dict[str, Any]], _Sent] = {}
        self._stored: list[Part] = []
        self._stored_bytes = 0
        self._width = Width(plan)
        self._creating: Future[dict[str, Any]] | None = None
        self._stopped = Future[None]()

    def write(self, data: bytes) -> None:
        """Add bytes and send each full part, waiting for an earlier part when enough of them are in flight."""
        left = memoryview(data)
        while left:
            piece = left[: self._plan.size(self._sent + 1) - self._buffered]
            left = left[len(piece) :]
            self._memory.add(piece)
            self._buffered += len(piece)
            self._buffered_crc = isal_zlib.crc32(piece, self._buffered_crc)
            if self._buffered == self._plan.size(self._sent + 1):
                self._send()

    @property
    def crc(self) -> int:
        """The CRC32 of all bytes so far, combined from those of the parts."""
        return int(isal_zlib.crc32_combine(self._sent_crc, self._buffered_crc, self._buffered))

    def finish(self) -> Upload:
        """Send the rest, wait for every part, and return the upload.

        An object smaller than a part, of at most `MAX_KEPT` bytes, is kept in memory. One of several is not, because
        their memory adds up.
        """
        if self._upload_id is None and self._buffered <= (MAX_KEPT if self._keeps_whole else 0):
            return Whole(**_lower(self._object), body=b"".join(self._memory.take()), options=dict(self._options))
        if self._buffered:
            self._send()
        while self._in_flight:
            self._arrive()
        parts = tuple(sorted(self._stored, key=lambda part: part.number))
        return Multipart(**_lower(self._object), upload_id=str(self._upload_id), parts=parts, sums=self._sums)

    def stop(self) -> None:
        """End the parts in flight; a waiting `write` raises. A Create goes on, so that its upload can be aborted."""
        with suppress(InvalidStateError):
            self._stopped.set_result(None)
        for future in tuple(self._in_flight):
            future.cancel()

    def abort(self) -> str | None:
        """Abort the upload if it was begun; see `abort_upload`."""
        self.stop()
        wait(tuple(self._in_flight))
        self._memory.take()
        if self._creating is None:
            return None
        try:
            upload_id = self._upload_id or wait_for(self._creating, ABORT_SECONDS).get("UploadId")
        except TimeoutError:
            return self._unanswered(1)
        except RequestFailed as failed:
            return self._unanswered(1) if failed.uncertain else None
        return abort_upload(self._requests, self._object, str(upload_id)) if upload_id else None

    def _send(self) -> None:
        """Send the bytes that are buffered as a part."""
        if self._sent == self._plan.max_parts:
            raise UploadError(
                f"{self._url} has more than {self._plan.max_parts:,} parts, the first of {self._plan.first_size:,} "
                "bytes. Deliver several files (max_rows_per_file or max_bytes_per_file), or pass a larger "
                f"default_block_size in storage_options."
            )
        if self._upload_id is None:
            self._upload_id = self._create()
        while self._in_flight and self._bytes_in_flight() + self._buffered > self._width.num_bytes:
            self._arrive()
            self._width.learn(self._stored_bytes)
        if self._stopped.done():
            raise self._stop_error()
        self._sent += 1
        crc, self._sent_crc, body = self._buffered_crc, self.crc, PartBody(self._memory.take())
        self._buffered = self._buffered_crc = 0
        checksum = SUMS[self._sums].of(body.pieces, crc) if self._sums != "none" else None
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
        if self._stopped.done():  # `stop` may have looked before this one was noted
            future.cancel()

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
            raise UploadError(
                f"The store began an upload of {self._url} without an upload id. Rerun, or ask the store's operator."
            )
        if unclear := reply.get(UNCLEAR):
            _log.warning("%s", self._unanswered(unclear))
        if kind:  # the store may have refused the checksum, or made another kind of it
            sums: Sums = reply.get(SUMS_SENT, "full")
            self._sums = "composite" if sums == "full" and reply.get("ChecksumType") == "COMPOSITE" else sums
        if self._report:
            self._report(self._url, str(reply["UploadId"]))
        return str(reply["UploadId"])

    def _unanswered(self, number: int) -> str:
        """Return the message for uploads that may exist, and whose ids only the store knows."""
        if number == 1:
            return (
                f"The request to begin an upload of {self._url} was not answered. The store may hold an upload without "
                f"parts: {LIFECYCLE} it."
            )
        return (
            f"{number} requests to begin an upload of {self._url} were not answered. The store may hold uploads "
            f"without parts: {LIFECYCLE} them."
        )

    def _arrive(self) -> None:
        """Wait until a part in flight has arrived, and store it if the reply proves it."""
        for future in wait(tuple(self._in_flight), return_when=FIRST_COMPLETED).done:
            sent = self._in_flight.pop(future)
            number = sent.part.number
            reply = self._reply(future, f"{self._url}, part {number}")
            if not reply.get("ETag"):
                raise UploadError(
                    f"The store took part {number} of {self._url} without an ETag. Rerun, or ask the store's operator."
                )
            if integrity := self._proven(sent, reply):
                self._stored.append(replace(sent.part, etag=str(reply["ETag"]), integrity=integrity))
                self._stored_bytes += sent.part.num_bytes
                self._memory.give_back(sent.body.free(), self._width.num_bytes)
                self._report_stored(sent.part.num_bytes)

    def _proven(self, sent: _Sent, reply: Mapping[str, Any]) -> Integrity | None:
        """Return how a part was proven to have arrived; None where it wasn't, and is sent again."""
        body = SentBody(sent.body.md5, is_encrypted(self._options))
        integrity = proof_of(body, reply, self._requests.support)
        better = not reply.get(SIGNED) and self._requests.signs("upload_part")
        if integrity and not (integrity == "unproven" and better):
            return integrity
        if sent.attempts < MAX_ATTEMPTS:
            self._start(replace(sent, attempts=sent.attempts + 1))
            return None
        if integrity is None:
            raise altered(f"{self._url}, part {sent.part.number}", sent.attempts)
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


def abort_upload(requests: Requests, where: Mapping[str, str], upload_id: str) -> str | None:
    """Abort an upload; returns a message if the store refused, because its owner pays for the parts."""
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
            return None
        reason = "the reply was not an answer to the request"
    return (
        f"The upload {upload_id} of s3://{where['Bucket']}/{where['Key']} could not be aborted ({reason}). It is "
        f"invisible but stored: {LIFECYCLE} it."
    )


def not_aborted(url: str, upload_id: str) -> str:
    """Return the message for an upload that was left alone: an Abort may destroy the object that was made of it."""
    return f"The upload {upload_id} may be the object at {url}, so it was not aborted. If it isn't, {LIFECYCLE} it."


def are_unlike(parts: Sequence[Part]) -> bool:
    """Return True if the parts of an upload, except a smaller last one, aren't all of one size."""
    return any(part.num_bytes != parts[0].num_bytes for part in parts[:-1]) or (
        bool(parts) and parts[-1].num_bytes > parts[0].num_bytes
    )


def _lower(where: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in where.items()}
