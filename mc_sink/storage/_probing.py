"""Requests that only ask what a store allows: whatever comes back is a value here, a refusal too.

They go the same way as a delivery's own, with the same credentials, endpoint and silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import sleep
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from mc_sink.secret import Unpicklable, seal
from mc_sink.storage._failures import read_failure
from mc_sink.storage._s3_options import filesystem_arguments, owner_parameter
from mc_sink.storage._silence import silence

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_ONCE = {"create_multipart_upload", "complete_multipart_upload"}
_AGAIN = {None, 429, 503}
_TRIES, _PAUSE = 2, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came back; `status` is None where no readable reply came, and 0 where nothing could be sent.

    `date` and `region` are what the reply says of the store's clock and the bucket's region, `heard_at` is this
    machine's clock; `reply` is the whole of one that was no refusal. `advice` is the message of the error that a
    delivery ends with after this answer. No text in here holds the caller's credentials.
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
        """Whether it was done."""
        return self.status is not None and _OK <= self.status < _OK + 100

    @property
    def is_refusal(self) -> bool:
        """Whether the store said no, and would say so again."""
        if self.code == "NotImplemented" or self.status == _NOT_IMPLEMENTED:
            return True
        return self.status is not None and 2 * _OK <= self.status < _BROKEN and self.status not in _PASSING

    def __str__(self) -> str:
        if self.ok:
            return f"{self.status}"
        return " ".join(filter(None, (str(self.status or ""), f"{self.code}:" if self.code else "", self.message)))


class Probes(Unpicklable):
    """Asks one question at a time; holds the credentials and shows them nowhere."""

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        import s3fs

        self._options = seal(storage_options)
        with silence():
            arguments = filesystem_arguments(self._options)
            # A question goes without a checksum, which some stores refuse whatever the answer would be.
            config = dict(arguments["config_kwargs"]) | {"request_checksum_calculation": "when_required"}
            arguments = dict(arguments) | {"config_kwargs": config}
            self._filesystem = s3fs.S3FileSystem(**arguments, skip_instance_cache=True, use_listings_cache=False)
        self._filesystem.retries = 1
        self._filesystem.req_kw = {**self._filesystem.req_kw, **owner_parameter(self._options)}
        self._endpoint: str | None = arguments["endpoint_url"]

    @property
    def host(self) -> str | None:
        """The host of the store, wherever its endpoint was configured; None for AWS' own."""
        return None if self._endpoint is None else urlsplit(self._endpoint).hostname

    @property
    def endpoint(self) -> str:
        """The store's endpoint; empty for AWS' own."""
        return self._endpoint or ""

    def ask(self, operation: Question, **parameters: Any) -> Answer:
        """Send a request and give what came back; once more, if nothing did and that can do no harm."""
        answer = self._once(operation, parameters)
        for _ in range(1, 1 if operation in _ONCE else _TRIES):
            if answer.status in _AGAIN:
                sleep(_PAUSE)
                answer = self._once(operation, parameters)
        return answer

    def _once(self, operation: Question, parameters: Mapping[str, Any]) -> Answer:
        from asyncio import run_coroutine_threadsafe

        future = run_coroutine_threadsafe(self._send(operation, parameters), self._filesystem.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _send(self, operation: Question, parameters: Mapping[str, Any]) -> Answer:
        try:
            with silence():
                # The underscored coroutine is fsspec's documented asynchronous form of the public call_s3.
                reply = dict(await self._filesystem._call_s3(operation, **parameters))  # noqa: SLF001
        except Exception as error:  # noqa: BLE001  whatever it was, it is read, and what hangs on it is let go
            return self._refusal(operation, error)
        told = reply.pop("ResponseMetadata", {})
        headers = told.get("HTTPHeaders", {})
        status = told.get("HTTPStatusCode", _OK)
        return Answer(operation, status, date=headers.get("date"), region=_region(headers, {}), reply=reply)

    def _refusal(self, operation: Question, error: Exception) -> Answer:
        failed = read_failure(operation, error, self._options.scrubbed)
        response = _response_of(error)
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = _region(headers, response.get("Error", {}))
        return Answer(operation, failed.status, failed.code, failed.message, headers.get("date"), region)


def _response_of(error: Exception) -> Mapping[str, Any]:
    """Give the store's answer; s3fs keeps botocore's error as the cause of its own."""
    answers = (getattr(one, "response", None) for one in (error, error.__cause__))
    return next((answer for answer in answers if isinstance(answer, dict)), {})


def _region(headers: Mapping[str, str], error: Mapping[str, str]) -> str | None:
    return headers.get("x-amz-bucket-region") or error.get("Region")
