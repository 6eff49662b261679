"""The requests of a check: probes of the permissions, and a trial delivery at a key of our own.

They are sent as a delivery's requests are, with the same credentials, endpoint and silenced logs. The trial uses the
code of deliveries, with the same checksums, options and conditions, and learns what the store supports from the
replies.

Two things differ in a trial. No listing comes before a condition, because the trial is to show whether the store
itself keeps it. And every request is sent once, because a second attempt would make the answer ambiguous.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import sleep
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from mc_sink.exceptions import SinkError
from mc_sink.secret import Unpicklable, seal
from mc_sink.staged import StagedFile
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3.bucket import S3Store
from mc_sink.storage.s3.checksums import SUMS
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.failures import RequestFailed, read_failure, response_of
from mc_sink.storage.s3.part_plan import PartPlan
from mc_sink.storage.s3.shared_clients import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mc_sink.object_options import ObjectOptions
    from mc_sink.staged import IfExists, Sums
    from mc_sink.storage.s3.request import Sending
    from mc_sink.storage.s3.store_support import StoreSupport
    from mc_sink.target import Target

Question = Literal[
    "list_objects_v2",
    "put_object",
    "put_object_acl",
    "create_multipart_upload",
    "upload_part",
    "complete_multipart_upload",
    "abort_multipart_upload",
]
_OK, _BROKEN, _NOT_IMPLEMENTED = 200, 500, 501
_PASSING = {408, 409, 429}
# A repeated Create would leave a second upload behind where the first one's reply was lost, and a repeated Complete
# finds no upload where it had made the object.
_SENT_ONCE = {"create_multipart_upload", "complete_multipart_upload"}
_AGAIN = {None, 429, 503}
_ATTEMPTS, _PAUSE = 2, 0.5
_ACCEPTED, _CONTENT_TYPE = 200, "text/plain"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The answer to one request. No text in here holds the caller's credentials.

    - `status`: None without a readable reply, and 0 if nothing could be sent.
    - `date`, `region`: the store's clock and the bucket's region, as the reply has them.
    - `heard_at`: this machine's clock.
    - `reply`: all of a reply that wasn't a refusal.
    - `advice`: the message of the error that a delivery ends with after this answer.
    """

    operation: Question
    status: int | None
    code: str = ""
    message: str = ""
    date: str | None = None
    region: str | None = None
    advice: str = ""
    reply: Mapping[str, Any] = field(default_factory=dict, repr=False)
    heard_at: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)

    @property
    def ok(self) -> bool:
        """Whether the store did what was asked."""
        return self.status is not None and _OK <= self.status < _OK + 100

    @property
    def is_refusal(self) -> bool:
        """Whether the store refused, and would refuse again."""
        if self.code == "NotImplemented" or self.status == _NOT_IMPLEMENTED:
            return True
        return self.status is not None and 2 * _OK <= self.status < _BROKEN and self.status not in _PASSING

    def __str__(self) -> str:
        if self.ok:
            return f"{self.status}"
        return " ".join(filter(None, (str(self.status or ""), f"{self.code}:" if self.code else "", self.message)))


class Probes(Unpicklable):
    """Sends one probe at a time. Holds the credentials and never shows them."""

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        self._options = seal(storage_options)
        self._client = CLIENTS.get(self._options)
        self._endpoint = self._client.endpoint

    @property
    def host(self) -> str | None:
        """The host of the store, wherever its endpoint was configured; None for AWS' own."""
        return None if self._endpoint is None else urlsplit(self._endpoint).hostname

    @property
    def endpoint(self) -> str:
        """The store's endpoint; empty for AWS' own."""
        return self._endpoint or ""

    def ask(self, operation: Question, **parameters: Any) -> Answer:
        """Send a request and return the answer; once more if none came and a second attempt does no harm."""
        answer = self._once(operation, parameters)
        for _ in range(1, 1 if operation in _SENT_ONCE else _ATTEMPTS):
            if answer.status in _AGAIN:
                sleep(_PAUSE)
                answer = self._once(operation, parameters)
        return answer

    def _once(self, operation: Question, parameters: Mapping[str, Any]) -> Answer:
        from asyncio import run_coroutine_threadsafe

        future = run_coroutine_threadsafe(self._send(operation, parameters), self._client.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _send(self, operation: Question, parameters: Mapping[str, Any]) -> Answer:
        try:
            with silence():
                async with self._client.in_use() as filesystem:
                    # The underscored coroutine is fsspec's documented asynchronous form of the public call_s3.
                    reply = dict(await filesystem._call_s3(operation, **parameters))  # noqa: SLF001
        except Exception as error:  # noqa: BLE001  read as text, so that its frames are freed
            return self._refusal(operation, error)
        metadata = reply.pop("ResponseMetadata", {})
        headers, status = metadata.get("HTTPHeaders", {}), metadata.get("HTTPStatusCode", _OK)
        return Answer(operation, status, date=headers.get("date"), region=_region(headers, {}), reply=reply)

    def _refusal(self, operation: Question, error: Exception) -> Answer:
        failed = read_failure(operation, error, self._options.scrubbed)
        response = response_of(error) or {}
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = _region(headers, response.get("Error", {}))
        return Answer(operation, failed.status, failed.code, failed.message, headers.get("date"), region)


def _region(headers: Mapping[str, str], error: Mapping[str, str]) -> str | None:
    return headers.get("x-amz-bucket-region") or error.get("Region")


class _TrialRequests(Requests):
    """Sends each request once, without a listing before it, and keeps the last reply."""

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        super().__init__(storage_options)
        self._pace = replace(self._pace, attempts=1)
        self.reply: Mapping[str, Any] = {}

    def call(self, operation: Any, **parameters: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        reply = super().call(operation, **parameters)
        if operation != "list_objects_v2":
            self.reply = reply
        return reply

    async def _look(self, sending: Sending) -> None:  # noqa: ARG002  the signature of the base class
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Uploaded:
    """The outcome of a trial upload: of its first Complete, of its last one, and a message on what is left of it."""

    completed: Answer
    replaced: Answer
    left: str | None = None


class _Uneven(PartPlan):
    """Three parts of two sizes, as small as S3 takes them: all except the last have at least 5 MiB."""

    def size(self, number: int) -> int:
        """Return the bytes of part `number`, counted from 1."""
        return self.min_size + (number == 2)  # noqa: PLR2004  the second of three

    @property
    def num_bytes(self) -> int:
        """Bytes of all three."""
        return self.size(1) + self.size(2) + 1


class Trial(Unpicklable):
    """Delivers objects at a key of our own; an answer that isn't `ok` has the delivery's error message in `advice`."""

    def __init__(self, storage_options: Mapping[str, Any] | None, options: ObjectOptions) -> None:
        self._requests = _TrialRequests(storage_options)
        self._store = S3Store(storage_options, options, self._requests)
        self._left: str | None = None

    @property
    def support(self) -> StoreSupport:
        """The facts that the replies have shown so far."""
        return self._requests.support

    @property
    def sums(self) -> Sums:
        """The checksum that a delivery sends, as far as the replies have shown which ones the store takes."""
        return self._requests.sums

    @property
    def algorithm(self) -> str:
        """The name of that checksum's algorithm; CRC32 where none is sent."""
        return SUMS.get(self.sums, SUMS["full"]).algorithm

    @property
    def endpoint(self) -> str:
        """The endpoint that was asked; empty for AWS' own."""
        return self._requests.endpoint or ""

    def put(self, target: Target, body: bytes) -> Answer:
        """Put an object on the condition that its key is free."""

        def deliver() -> None:
            self._publish(self._stage(target, body, several=False), "fail")

        return self._answer("put_object", deliver)

    def put_again(self, target: Target, body: bytes) -> Answer:
        """Put the same object again at its key, under the same condition."""
        return self._learn_ignored(self.put(target, body))

    def upload_again(self, target: Target, body: bytes) -> Uploaded:
        """Upload the same object under the same condition; if the store keeps it, once more without it."""
        files: list[StagedFile] = []
        self._left = None

        def deliver() -> None:
            files.append(self._stage(target, body, several=True))
            self._publish(files[0], "fail")

        completed = replaced = self._learn_ignored(self._answer("complete_multipart_upload", deliver))
        if files and completed.code == "PreconditionFailed":
            replaced = self._answer("complete_multipart_upload", lambda: self._publish(files[0], "overwrite"))
        left = self._store.discard(files[0]) if files and not replaced.ok else self._left
        return Uploaded(completed, replaced, left)

    def upload_unevenly(self, target: Target, body: bytes) -> Uploaded | None:
        """Upload parts of two sizes over our own object, as a delivery of more than 900 parts does, and restore it.

        Some 10 MiB are sent. Returns None if it is known already whether the store takes such parts.
        """
        if self._requests.equal_parts is not None:
            return None
        files: list[StagedFile] = []
        self._left, plan = None, _Uneven()

        def deliver() -> None:
            files.append(self._stage(target, bytes(plan.num_bytes), several=True, plan=plan))
            self._publish(files[0], "overwrite")

        completed = replaced = self._answer("complete_multipart_upload", deliver)
        left = self._store.discard(files[0]) if files and not completed.ok else self._left
        if files and not completed.is_refusal:
            small = self._stage(target, body, several=False)
            replaced = self._answer("put_object", lambda: self._publish(small, "overwrite"))
        return Uploaded(completed, replaced, left)

    def _learn_ignored(self, answer: Answer) -> Answer:
        """Note that the store ignores a condition, if it took a request that the condition forbids."""
        if answer.ok and self.support.condition(answer.operation) != "refused":
            self.support.learn_condition(answer.operation, "ignored")
        return answer

    def _stage(self, target: Target, body: bytes, *, several: bool, plan: PartPlan | None = None) -> StagedFile:
        parts = self._store.open(target, _CONTENT_TYPE, several=several, plan=plan)
        try:
            parts.write(body)
            upload = parts.finish()
        except BaseException:
            self._left = parts.abort()
            raise
        return StagedFile(target.url, 0, len(body), f"crc32:{zlib.crc32(body):08x}", upload)

    def _publish(self, file: StagedFile, if_exists: IfExists) -> None:
        self._store.publish(file, if_exists, repeatable=False)

    def _answer(self, operation: Any, deliver: Callable[[], None]) -> Answer:
        try:
            deliver()
        except SinkError as error:
            failed = error.__cause__
            if not isinstance(failed, RequestFailed):
                return Answer(operation, None, message=error.message, advice=error.message)
            status = None if failed.uncertain else failed.status
            return Answer(operation, status, failed.code, failed.message, advice=error.message)
        return Answer(operation, _ACCEPTED, reply=self._requests.reply)
