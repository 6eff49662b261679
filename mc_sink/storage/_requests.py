"""Requests to S3 through a private s3fs filesystem: one retry layer, and failures that say what is known.

botocore's and s3fs' own retries are off, or they would multiply ours. What may be sent again:

    operation                    sent again after                            what a second try can do
    create_multipart_upload      no reply, 408, 429, 5xx, throttling         leave an empty upload behind
    upload_part                  the same, and a checksum that didn't match  nothing: the same part again
    list_objects_v2              no reply, 408, 429, 5xx, throttling         nothing: it only reads
    abort_multipart_upload       the same                                    nothing: gone stays gone
    put_object, complete         the same, but settled by evidence after     find our own earlier try (412, 404)

Nothing else is: a refusal stays a refusal. Waits are full jitter (a random share of an exponentially growing bound).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from mc_sink.storage._s3_options import filesystem_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

Operation = Literal[
    "create_multipart_upload",
    "upload_part",
    "complete_multipart_upload",
    "put_object",
    "abort_multipart_upload",
    "list_objects_v2",
]
OPERATIONS = get_args(Operation)
TRIES, DEADLINE_SECONDS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 8, 120.0, 0.2, 10.0
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
_CORRUPTED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}


@dataclass(slots=True, eq=False)
class RequestFailed(Exception):  # noqa: N818  what failed is the request; whether that is an error, its caller decides
    """A request that did not succeed: the last answer, and whether any try may have taken effect all the same.

    `status` is None where no readable reply came. `uncertain` is True after a lost or unreadable reply or a 5xx:
    the store may have done what was asked.
    """

    operation: str
    status: int | None
    code: str
    message: str
    uncertain: bool

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message

    @property
    def transient(self) -> bool:
        """Whether the same request, sent again, may succeed and can do no harm."""
        return (
            self.status is None
            or self.status in _TRANSIENT_STATUS
            or self.code in _TRANSIENT_CODES
            or (self.operation == "upload_part" and self.code in _CORRUPTED)
        )


class Requests:
    """Sends requests on s3fs' event loop; safe to use from any thread. Holds the credentials and shows them nowhere."""

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        import s3fs

        arguments = filesystem_arguments(storage_options or {})
        self._filesystem = s3fs.S3FileSystem(**arguments, skip_instance_cache=True, use_listings_cache=False)
        self._filesystem.retries = 1
        calculation = arguments["config_kwargs"].get("request_checksum_calculation", "when_supported")
        self.sums_parts: bool = calculation != "when_required"

    def start(self, operation: Operation, **parameters: Any) -> Future[dict[str, Any]]:
        """Send a request and give its future; cancelling that ends the request. Fails with `RequestFailed`."""
        from asyncio import run_coroutine_threadsafe

        return run_coroutine_threadsafe(self._send(operation, parameters), self._filesystem.loop)

    def call(self, operation: Operation, **parameters: Any) -> dict[str, Any]:
        """Send a request and wait for its reply, or raise `RequestFailed`; an exception while waiting ends it."""
        return wait_for(self.start(operation, **parameters))

    async def _send(self, operation: Operation, parameters: dict[str, Any]) -> dict[str, Any]:
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, stop_before_delay
        from tenacity.wait import wait_random_exponential

        uncertain = False
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, RequestFailed) and error.transient),
            stop=stop_after_attempt(TRIES) | stop_before_delay(DEADLINE_SECONDS),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
            reraise=True,
        ):
            with attempt:
                try:
                    # The underscored coroutine is fsspec's documented asynchronous form of the public call_s3.
                    return dict(await self._filesystem._call_s3(operation, **parameters))  # noqa: SLF001
                except Exception as error:
                    failed = _read_failure(operation, error)
                    uncertain = failed.uncertain = failed.uncertain or uncertain
                    raise failed from error
        raise AssertionError("unreachable: the retry loop returns or raises")


def wait_for(future: Future[dict[str, Any]], timeout: float | None = None) -> dict[str, Any]:
    """Give a request's reply; `timeout` is in seconds. Whatever ends the waiting ends the request too."""
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise


def _read_failure(operation: str, error: Exception) -> RequestFailed:
    """Read what the store answered, if it did; s3fs keeps botocore's error as the cause of its own."""
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            answer = response.get("Error", {})
            uncertain = status is None or status >= 500 or status == 408  # noqa: PLR2004  server errors; a timeout
            return RequestFailed(
                operation, status, str(answer.get("Code", "")), str(answer.get("Message", "")), uncertain
            )
    if _is_callers_mistake(error):
        return RequestFailed(operation, 0, type(error).__name__, str(error), uncertain=False)
    return RequestFailed(operation, None, type(error).__name__, str(error) or "no reply", uncertain=True)


def _is_callers_mistake(error: Exception) -> bool:
    """Whether the request was never sent: credentials that can't be found, a parameter that has no such form."""
    from botocore.exceptions import BotoCoreError, HTTPClientError
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.parsers import ResponseParserError

    if isinstance(error, (NoConnection, HTTPClientError, ResponseParserError)):
        return False
    return isinstance(error, (BotoCoreError, TypeError, ValueError))
