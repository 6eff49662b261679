"""Send requests to S3 through a private s3fs filesystem, with one retry layer and typed failures.

    start, call ─► _send            waits for a connection, and adds facts to the reply
                ─► _with_retries    repeats it after passing failures; see `retry_rules.py`
                ─► _with_renewal    once more, with renewed credentials
                ─► _adapted         again, without what the store refuses; see `store_support.py`
                ─► _guarded         after a listing, where the store may ignore `If-None-Match: *`
                ─► _send_once       one request over HTTP; see `request.py` and `http.py`

botocore's and s3fs' own retries are off, or the layers would multiply. Expired credentials are read again, once for
all requests that failed with them.

Some stores accept `If-None-Match: *` and ignore it. Unless a store is known to keep it, the key is listed right before
every attempt of a request that carries it. A key that is taken is refused as the store would have refused it. Such a
store replaces an object that appears between that listing and the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mc_sink.secret import Unpicklable, seal
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3.checksums import sums_in
from mc_sink.storage.s3.client_options import allowed_sums, are_found, filesystem_arguments, may_sign, owner_parameter
from mc_sink.storage.s3.endpoint import is_aws, wants_equal_parts
from mc_sink.storage.s3.failures import (
    KMS,
    NOT_IMPLEMENTED,
    RequestFailed,
    is_answer,
    is_list_denied,
    no_answer,
    read_failure,
)
from mc_sink.storage.s3.request import (
    CREATE_ONLY,
    SIGNED,
    SUMMED,
    SUMS_SENT,
    UNCLEAR,
    Sending,
    before_send,
    before_sign,
)
from mc_sink.storage.s3.retry_rules import Operation, Pace
from mc_sink.storage.s3.store_support import (
    CONDITION,
    Refitting,
    StoreSupport,
    known_fit,
    learn_from_refusal,
    learn_from_success,
    refusal_to_report,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from s3fs import S3FileSystem
    from tenacity import RetryCallState

    from mc_sink.receipt import CreateOnly
    from mc_sink.staged import Sums

_OK, _PRECONDITION_FAILED = 200, 412


class Requests(Unpicklable):
    """Sends requests on s3fs' event loop, from any thread. Holds the credentials and never shows them.

    `support`: the facts that the store's replies have shown.
    """

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        from asyncio import Semaphore

        self._options = seal(storage_options)
        arguments = filesystem_arguments(self._options)
        self._owner = owner_parameter(self._options)
        self._filesystem = open_filesystem(arguments, self._owner)
        self._pace = Pace.of(arguments["config_kwargs"])
        # The clock of a request starts once it has a connection, so the wait for one does not count.
        self._connections = Semaphore(arguments["config_kwargs"]["max_pool_connections"])
        self._allowed = allowed_sums(self._options, arguments)
        host = urlsplit(arguments["endpoint_url"] or "").hostname
        self._on_aws = is_aws(host)
        self.support = (
            StoreSupport.of_aws() if self._on_aws else StoreSupport(equal_parts=wants_equal_parts(host) or None)
        )
        self._equal_parts: bool | None = self._options.get("equal_parts")
        self.endpoint: str | None = arguments["endpoint_url"]
        self._signs_all: bool = arguments["config_kwargs"]["s3"]["payload_signing_enabled"]
        self._may_sign = may_sign(self._options, arguments["session"])

    @property
    def sums(self) -> Sums:
        """The checksum that requests carry: the caller's, or else the best one that the store is known to take."""
        return self.support.sums if self.support.sums in self._allowed else self._allowed[0]

    @property
    def sums_parts(self) -> bool:
        """Whether bodies carry a checksum: they do, unless the caller or the store doesn't want it."""
        return self.sums != "none"

    @property
    def equal_parts(self) -> bool | None:
        """Whether all parts of an upload must have one size: as the caller states, or else as the store has shown."""
        return self.support.equal_parts if self._equal_parts is None else self._equal_parts

    def signs(self, operation: Operation) -> bool:
        """Return True if a body is to be signed, so that the store refuses one that was altered on its way.

        On a line that others can alter, every body is. On other lines the checksum is enough, once the store is known
        to check it. Until then, an altered part is sent again, but an object that a Put made can't be.
        """
        if self._signs_all or not self._may_sign:
            return self._signs_all
        if not self.sums_parts:
            return True
        checks = self.support.checks_sums
        return checks is not True if operation == "put_object" else checks is False

    def start(self, operation: Operation, **parameters: Any) -> Future[dict[str, Any]]:
        """Send a request and return its future, which fails with `RequestFailed`; cancelling it ends the request.

        The reply also has `CREATE_ONLY`, `SIGNED`, `SUMMED`, `SUMS_SENT` and `UNCLEAR`.
        """
        from asyncio import run_coroutine_threadsafe

        signed = "Body" in parameters and self.signs(operation)
        sending = Sending(operation, parameters, self._pace.quiet(operation), signed=signed)
        return run_coroutine_threadsafe(self._send(sending), self._filesystem.loop)

    def call(self, operation: Operation, **parameters: Any) -> dict[str, Any]:
        """Send a request and return its reply, or raise `RequestFailed`; an interrupted wait ends the request."""
        future = self.start(operation, **parameters)
        del parameters  # a traceback with locals would show the rows in them
        return wait_for(future)

    def create_only(self, operation: Operation, parameters: Mapping[str, Any]) -> CreateOnly | None:
        """Return how such a request is kept from replacing an object, if the key may be listed."""
        if "IfNoneMatch" not in parameters:
            return None
        return "condition" if self.support.condition(operation) == "kept" else "listing"

    async def _send(self, sending: Sending) -> dict[str, Any]:
        """Return the reply or raise; a failure is a value until here, so that it keeps no library's frames alive."""
        async with self._connections:
            answer = await self._with_retries(sending)
        if isinstance(answer, RequestFailed):
            raise answer
        return answer | {
            CREATE_ONLY: sending.create_only,
            SIGNED: sending.signed,
            SUMMED: sums_in(sending.sent),
            SUMS_SENT: sending.fit.sums,
            UNCLEAR: sending.unclear,
        }

    async def _with_retries(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        from tenacity import AsyncRetrying, retry_if_result
        from tenacity.wait import wait_random_exponential

        pace = self._pace

        def is_over(state: RetryCallState) -> bool:  # the time in which the body moved doesn't count
            stood_still = (state.seconds_since_start or 0.0) - sending.moved_for
            return state.attempt_number >= pace.attempts or stood_still + state.upcoming_sleep >= pace.deadline

        return await AsyncRetrying(
            retry=retry_if_result(lambda answer: isinstance(answer, RequestFailed) and answer.transient),
            stop=is_over,
            wait=wait_random_exponential(multiplier=pace.first_wait, max=pace.longest_wait),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )(self._with_renewal, sending)

    async def _with_renewal(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        """Send it, and once more if only expired credentials made it fail and they can be looked up again."""
        used = self._filesystem
        answer = await self._adapted(sending)
        if isinstance(answer, RequestFailed) and answer.expired and are_found(self._options):
            answer = await self._adapted(sending, instead_of=used)
        return answer

    async def _adapted(
        self, sending: Sending, *, instead_of: S3FileSystem | None = None
    ) -> dict[str, Any] | RequestFailed:
        """Send it, and again without what the store refuses, until the store takes it or no change is left."""
        before = known_fit(sending.operation, self.support, self.sums)
        refitting = Refitting(sending.operation, sending.parameters.keys(), self._allowed, before)
        sending.fit_to(before)
        first = answer = await self._guarded(sending, instead_of=instead_of)
        while isinstance(answer, RequestFailed) and not self._on_aws:
            fit = refitting.after(answer)
            if fit is None:
                return refusal_to_report(first, answer) if isinstance(first, RequestFailed) else answer
            sending.fit_to(fit)
            answer = await self._guarded(sending, instead_of=instead_of)
        if not isinstance(answer, RequestFailed):
            learn_from_success(sending.operation, before, sending.fit, self.support)
        return answer

    async def _guarded(
        self, sending: Sending, *, instead_of: S3FileSystem | None = None
    ) -> dict[str, Any] | RequestFailed:
        """Send it, but not to a key that is taken, where the store may ignore the condition."""
        if "Body" in sending.parameters and not sums_in(sending.sent):
            sending.signed = self._may_sign
        sending.create_only = self.create_only(sending.operation, sending.parameters)
        if sending.create_only == "listing" and (refusal := await self._look(sending, instead_of)):
            return sending.failed(refusal)
        answer = await self._send_once(sending, instead_of=instead_of)
        if isinstance(answer, RequestFailed):
            learn_from_refusal(answer, self.support, self._allowed)
        return answer

    async def _look(self, sending: Sending, instead_of: S3FileSystem | None) -> RequestFailed | None:
        """Return the refusal of a key that is taken, or the failure of the listing; None where the key is free.

        Without the permission to list, only the condition protects the key, and that is noted. Where the store refuses
        the condition too, the request is not sent.
        """
        where = {"Bucket": sending.parameters["Bucket"], "Prefix": sending.parameters["Key"], "MaxKeys": 1}
        listing = Sending("list_objects_v2", where, self._pace.quiet("list_objects_v2"))
        listed = await self._send_once(listing, instead_of=instead_of)
        if isinstance(listed, RequestFailed):
            if not is_list_denied(listed):
                return RequestFailed(sending.operation, listed.status, listed.code, listed.message, uncertain=False)
            if not sending.fit.left_out & CONDITION:
                sending.create_only = "unproven"
                return None
            reason = "the store refuses If-None-Match, and the listing that would take its place is denied"
            refusal = RequestFailed(sending.operation, NOT_IMPLEMENTED, "NotImplemented", reason, uncertain=False)
            refusal.sent = CONDITION
            return refusal
        if all(entry["Key"] != where["Prefix"] for entry in listed.get("Contents", ())):
            return None
        reason = "a listing right before the request shows an object there"
        return RequestFailed(sending.operation, _PRECONDITION_FAILED, "PreconditionFailed", reason, uncertain=False)

    async def _send_once(
        self, sending: Sending, *, instead_of: S3FileSystem | None = None
    ) -> dict[str, Any] | RequestFailed:
        try:
            with silence():
                if self._filesystem is instead_of:  # else another request that failed with it has replaced it
                    self._filesystem = open_filesystem(filesystem_arguments(self._options), self._owner)
                async with sending.attempt():
                    client = await self._filesystem.set_session()
                    client.meta.events.register("before-sign.s3", before_sign, unique_id=before_sign.__name__)
                    client.meta.events.register("before-send.s3", before_send, unique_id=before_send.__name__)
                    # The underscored coroutine is fsspec's documented asynchronous form of the public call_s3.
                    reply = dict(await self._filesystem._call_s3(sending.operation, **sending.sent))  # noqa: SLF001
        except Exception as error:  # noqa: BLE001  read as text, so that its frames are freed
            failed = read_failure(sending.operation, error, self._options.scrubbed)
            kms = [KMS] if str(sending.sent.get("ServerSideEncryption")).startswith(KMS) else []
            failed.sent = frozenset({*sending.sent, *self._filesystem.req_kw, *kms})
            return sending.failed(failed)
        return reply if is_answer(sending.operation, reply) else sending.failed(no_answer(sending.operation, _OK))


def wait_for(future: Future[dict[str, Any]], timeout: float | None = None) -> dict[str, Any]:
    """Wait for a request's reply, at most `timeout` seconds. If the wait ends early, so does the request."""
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise


def open_filesystem(arguments: Mapping[str, Any], owner: Mapping[str, str]) -> S3FileSystem:
    """Make a filesystem that sends each request once. The one it replaces closes itself after its last request.

    botocore adds no checksum of its own: that is decided here, by what the store takes.
    """
    import s3fs

    config = dict(arguments["config_kwargs"]) | {"request_checksum_calculation": "when_required"}
    filesystem = s3fs.S3FileSystem(
        **dict(arguments) | {"config_kwargs": config}, skip_instance_cache=True, use_listings_cache=False
    )
    filesystem.retries = 1
    filesystem.req_kw = {**filesystem.req_kw, **owner}  # goes with every request
    return filesystem
