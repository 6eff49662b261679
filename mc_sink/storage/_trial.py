"""What a delivery sends, sent to a key of our own, where nothing but our own bytes can be replaced.

The requests are made by the code that deliveries use, with the same checksums, options and conditions, and it learns
the store's ways from the replies. Two things differ. No listing comes before a condition, because the trial is to show
whether the store itself keeps it. And every request is sent once, because a second one would make the answer ambiguous.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import SinkError
from mc_sink.secret import Unpicklable
from mc_sink.staged import StagedFile
from mc_sink.storage._parts import PartPlan
from mc_sink.storage._probing import Answer
from mc_sink.storage._requests import RequestFailed, Requests
from mc_sink.storage._s3 import S3Store
from mc_sink.storage._sums import SUMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mc_sink.object_options import ObjectOptions
    from mc_sink.staged import IfExists, Sums
    from mc_sink.storage._sending import Sending
    from mc_sink.storage._ways import StoreWays
    from mc_sink.target import Target

_OK, _CONTENT_TYPE = 200, "text/plain"


class _TrialRequests(Requests):
    """Sends each request once, without a listing before it, and keeps the last reply."""

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        super().__init__(storage_options)
        self._pace = replace(self._pace, tries=1)
        self.reply: Mapping[str, Any] = {}

    def call(self, operation: Any, **parameters: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        reply = super().call(operation, **parameters)
        if operation != "list_objects_v2":
            self.reply = reply
        return reply

    async def _look(self, sending: Sending, instead_of: Any) -> None:  # noqa: ARG002  as where it overrides
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Uploaded:
    """What became of an upload: of Create to its first Complete, of its last one, and what is left of it."""

    completed: Answer
    replaced: Answer
    left: str | None = None


class _Uneven(PartPlan):
    """Three parts of two sizes, as small as S3 takes them: those before the last one have at least 5 MiB."""

    def size(self, number: int) -> int:
        """Bytes of part `number`, counted from 1."""
        return self.min_size + (number == 2)  # noqa: PLR2004  the second of three

    @property
    def num_bytes(self) -> int:
        """Bytes of all three."""
        return self.size(1) + self.size(2) + 1


class Trial(Unpicklable):
    """Puts objects of our own; an answer that isn't `ok` has the words of the delivery's error in `advice`."""

    def __init__(self, storage_options: Mapping[str, Any] | None, options: ObjectOptions) -> None:
        self._requests = _TrialRequests(storage_options)
        self._store = S3Store(storage_options, options, self._requests)
        self._left: str | None = None

    @property
    def ways(self) -> StoreWays:
        """What the replies have shown of the store so far."""
        return self._requests.ways

    @property
    def sums(self) -> Sums:
        """The checksum that a delivery sends, as far as the replies have shown what the store takes."""
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
        """Put an object with the condition that nothing is at its key."""

        def deliver() -> None:
            self._publish(self._stage(target, body, several=False), "fail")

        return self._answer("put_object", deliver)

    def put_again(self, target: Target, body: bytes) -> Answer:
        """Put the same object where it is already, under the same condition."""
        return self._learn_ignored(self.put(target, body))

    def upload_again(self, target: Target, body: bytes) -> Uploaded:
        """Upload the same object under the same condition; where that is kept, once more without it."""
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
        """Upload parts of two sizes over our own object, as a delivery of more than 900 parts does; put it back then.

        Some 10 MiB are sent. None where it is known already whether the store takes that.
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
        """Note that a condition is read over, where the store has taken what it forbids."""
        if answer.ok and self.ways.condition(answer.operation) != "refused":
            self.ways.learn_condition(answer.operation, "ignored")
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
            return _refusal(operation, error)
        return Answer(operation, _OK, reply=self._requests.reply)


def _refusal(operation: Any, error: SinkError) -> Answer:
    failed = error.__cause__
    if not isinstance(failed, RequestFailed):
        return Answer(operation, None, message=str(error), advice=str(error))
    status = None if failed.uncertain else failed.status
    return Answer(operation, status, failed.code, failed.message, advice=str(error))
