"""Requests to S3 through a private s3fs filesystem: one retry layer, and failures that say what is known.

botocore's and s3fs' own retries are off, or they would multiply ours. What may be sent again, and how patiently, is in
`_retries.py`. Credentials that have expired on the way are read anew, once for all requests that failed with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mc_sink.secret import Unpicklable, seal
from mc_sink.storage._failures import RequestFailed, is_answer, no_answer, read_failure
from mc_sink.storage._retries import OPERATIONS, Operation, Pace
from mc_sink.storage._s3_options import are_found, filesystem_arguments, is_aws, sums_bodies
from mc_sink.storage._sending import Sending, before_send, before_sign
from mc_sink.storage._silence import silence
from mc_sink.storage._ways import SIGNED, StoreWays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from s3fs import S3FileSystem
    from tenacity import RetryCallState

__all__ = ["OPERATIONS", "UNCLEAR", "Operation", "RequestFailed", "Requests", "wait_for"]

_OK = 200
# In a reply: how many earlier tries of its request may have taken effect, without an answer that says so.
UNCLEAR: Final = "UnclearTries"


class Requests(Unpicklable):
    """Sends requests on s3fs' event loop; safe to use from any thread. Holds the credentials and shows them nowhere.

    `ways` is what the store's replies have shown of it; `sums_parts` says whether bodies go with their CRC32.
    """

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        from asyncio import Semaphore

        self._options = seal(storage_options)
        arguments = filesystem_arguments(self._options)
        self._filesystem = _open(arguments)
        self._pace = Pace.of(arguments["config_kwargs"])
        # Waiting for a connection is no part of a request: its clock starts when it may have one.
        self._connections = Semaphore(arguments["config_kwargs"]["max_pool_connections"])
        self.sums_parts: bool = sums_bodies(arguments)
        self.ways = StoreWays.of_aws() if is_aws(arguments["endpoint_url"]) else StoreWays()
        self.endpoint: str | None = arguments["endpoint_url"]
        self._signs_all: bool = arguments["config_kwargs"]["s3"]["payload_signing_enabled"]
        asked = (self._options.get("config_kwargs") or {}).get("s3") or {}
        self._may_sign = asked.get("payload_signing_enabled") is not False

    def signs(self, operation: Operation) -> bool:
        """Return True if a body is to be signed, so that the store refuses one that was altered on its way.

        On lines that others can alter, all are. On others that is left to the CRC32, where the store is known to check
        it; until then, a part that proves to be another is sent again, but an object can't be.
        """
        if self._signs_all or not self._may_sign:
            return self._signs_all
        if not self.sums_parts:
            return True
        checks = self.ways.checks_crc32
        return checks is not True if operation == "put_object" else checks is False

    def start(self, operation: Operation, **parameters: Any) -> Future[dict[str, Any]]:
        """Send a request and give its future; cancelling that ends the request. Fails with `RequestFailed`.

        The reply also has `SIGNED` and `UNCLEAR`.
        """
        from asyncio import run_coroutine_threadsafe

        signed = "Body" in parameters and self.signs(operation)
        sending = Sending(operation, parameters, self._pace.quiet(operation), signed=signed)
        return run_coroutine_threadsafe(self._send(sending), self._filesystem.loop)

    def call(self, operation: Operation, **parameters: Any) -> dict[str, Any]:
        """Send a request and wait for its reply, or raise `RequestFailed`; an exception while waiting ends it."""
        future = self.start(operation, **parameters)
        del parameters  # a traceback with locals would show the rows in them
        return wait_for(future)

    async def _send(self, sending: Sending) -> dict[str, Any]:
        """Give the reply or raise; a failure is a value until here, so that no library's frames hang on it."""
        async with self._connections:
            answer = await self._try_until_answered(sending)
        if isinstance(answer, RequestFailed):
            raise answer
        return answer | {SIGNED: sending.signed, UNCLEAR: sending.unclear}

    async def _try_until_answered(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        from tenacity import AsyncRetrying, retry_if_result
        from tenacity.wait import wait_random_exponential

        pace = self._pace
        return await AsyncRetrying(
            retry=retry_if_result(lambda answer: isinstance(answer, RequestFailed) and answer.transient),
            stop=lambda state: _is_over(state, pace, sending),
            wait=wait_random_exponential(multiplier=pace.first_wait, max=pace.longest_wait),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )(self._try, sending)

    async def _try(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        """Send it once, and once more if it failed only for credentials that have expired and can be had anew."""
        used = self._filesystem
        answer = await self._send_once(sending)
        if isinstance(answer, RequestFailed) and answer.expired and are_found(self._options):
            answer = await self._send_once(sending, instead_of=used)
        return answer

    async def _send_once(
        self, sending: Sending, *, instead_of: S3FileSystem | None = None
    ) -> dict[str, Any] | RequestFailed:
        try:
            with silence():
                if self._filesystem is instead_of:  # else another request that failed with it has replaced it
                    self._filesystem = _open(filesystem_arguments(self._options))
                async with sending.one_try():
                    reply = await _ask(self._filesystem, sending)
        except Exception as error:  # noqa: BLE001  whatever it was, it is read, and what hangs on it is let go
            return sending.failed(read_failure(sending.operation, error, self._options.scrubbed))
        return reply if is_answer(sending.operation, reply) else sending.failed(no_answer(sending.operation, _OK))


def wait_for(future: Future[dict[str, Any]], timeout: float | None = None) -> dict[str, Any]:
    """Give a request's reply; `timeout` is in seconds. Whatever ends the waiting ends the request too."""
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise


def _open(arguments: Mapping[str, Any]) -> S3FileSystem:
    """Make a filesystem that sends once; one that it replaces closes itself when its last request has ended."""
    import s3fs

    filesystem = s3fs.S3FileSystem(**arguments, skip_instance_cache=True, use_listings_cache=False)
    filesystem.retries = 1
    return filesystem


async def _ask(filesystem: S3FileSystem, sending: Sending) -> dict[str, Any]:
    client = await filesystem.set_session()
    client.meta.events.register("before-sign.s3", before_sign, unique_id=before_sign.__name__)
    client.meta.events.register("before-send.s3", before_send, unique_id=before_send.__name__)
    # The underscored coroutine is fsspec's documented asynchronous form of the public call_s3.
    return dict(await filesystem._call_s3(sending.operation, **sending.parameters))  # noqa: SLF001


def _is_over(state: RetryCallState, pace: Pace, sending: Sending) -> bool:
    """Whether no other try may begin; the time in which a body was on its way doesn't count."""
    stood_still = (state.seconds_since_start or 0.0) - sending.moved_for
    return state.attempt_number >= pace.tries or stood_still + state.upcoming_sleep >= pace.deadline
