"""Send requests to S3 through a private s3fs filesystem, with one retry layer and typed failures.

    start, call ─► _send            waits for a connection, and adds facts to the reply
                ─► _with_retries    repeats it after passing failures; see `retry_rules.py`
                ─► _with_renewal    once more, with renewed credentials
                ─► _adapted         again, without what the store refuses; see `store_support.py`
                ─► _guarded         after a listing, where the store may ignore `If-None-Match: *`
                ─► _send_once       one request over HTTP; see `request.py` and `http.py`

botocore's and s3fs' own retries are off, or the layers would multiply. Expired credentials are read again, once for
all requests that failed with them.

botocore asks a store whether it takes a body before it sends that (`Expect: 100-continue`), which costs a round trip.
Once a store has taken a part of an upload, its other parts are sent at once: measured, 443 instead of 352 MB/s at
50 ms. A refusal may break such a body off, and its reason with it. So a part that is sent again asks first.

Some stores accept `If-None-Match: *` and ignore it. Unless a store is known to keep it, the key is listed right before
every attempt of a request that carries it. A key that is taken is refused as the store would have refused it. Such a
store replaces an object that appears between that listing and the request.
"""

from __future__ import annotations

import os
import random
import time
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mc_sink._display import logger
from mc_sink.secret import Unpicklable, seal
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3.checksums import sums_in
from mc_sink.storage.s3.client_options import are_found
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
)
from mc_sink.storage.s3.shared_clients import CLIENTS
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

    from mc_sink.receipt import CreateOnly
    from mc_sink.staged import Sums
    from mc_sink.storage.s3.retry_rules import Operation

_log = logger(__name__)
_OK, _PRECONDITION_FAILED = 200, 412
_ENDING = {"complete_multipart_upload", "abort_multipart_upload"}


class Requests(Unpicklable):
    """Sends requests on s3fs' event loop, from any thread. Holds the credentials and never shows them.

    `support`: the facts that the store's replies have shown.
    """

    def __init__(self, storage_options: Mapping[str, Any] | None) -> None:
        self._options = seal(storage_options)
        self._client = CLIENTS.get(self._options)
        self._awaited: set[Future[dict[str, Any]]] = set()
        self._begun: set[str] = set()
        self._is_reached = False
        self._pace, self._allowed, self.endpoint = self._client.pace, self._client.allowed, self._client.endpoint
        host = urlsplit(self.endpoint or "").hostname
        self._on_aws = is_aws(host)
        self.support = (
            StoreSupport.of_aws() if self._on_aws else StoreSupport(equal_parts=wants_equal_parts(host) or None)
        )
        self._equal_parts: bool | None = self._options.get("equal_parts")

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
        if self._client.signs_all or not self._client.may_sign:
            return self._client.signs_all
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
        sending.hurries = operation == "upload_part" and parameters["UploadId"] in self._begun
        if self._client.pid != os.getpid():  # a fork has taken the event loop away
            self._client = CLIENTS.get(self._options)
        return run_coroutine_threadsafe(self._send(sending), self._client.loop)

    def call(self, operation: Operation, **parameters: Any) -> dict[str, Any]:
        """Send a request and return its reply, or raise `RequestFailed`; an interrupted wait ends the request."""
        future = self.start(operation, **parameters)
        del parameters  # a traceback with locals would show the rows in them
        self._awaited.add(future)
        try:
            return wait_for(future)
        finally:
            self._awaited.discard(future)

    def interrupt(self) -> None:
        """Stop the requests that threads wait for in `call`, which then raises `CancelledError`."""
        for future in tuple(self._awaited):
            future.cancel()

    def create_only(self, operation: Operation, parameters: Mapping[str, Any]) -> CreateOnly | None:
        """Return how such a request is kept from replacing an object, if the key may be listed."""
        if "IfNoneMatch" not in parameters:
            return None
        return "condition" if self.support.condition(operation) == "kept" else "listing"

    async def _send(self, sending: Sending) -> dict[str, Any]:
        """Return the reply or raise; a failure is a value until here, so that it keeps no library's frames alive."""
        async with self._client.connections:
            answer = await self._with_retries(sending)
        if isinstance(answer, RequestFailed):
            raise answer
        self._is_reached = True
        if sending.operation == "upload_part":
            self._begun.add(sending.parameters["UploadId"])
        elif sending.operation in _ENDING:
            self._begun.discard(sending.parameters["UploadId"])
        return answer | {
            CREATE_ONLY: sending.create_only,
            SIGNED: sending.signed,
            SUMMED: sums_in(sending.sent),
            SUMS_SENT: sending.fit.sums,
            UNCLEAR: sending.unclear,
        }

    async def _with_retries(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        """Send it until it succeeds, fails for good, or the pace allows no further attempt."""
        import asyncio

        pace, began = self._pace, time.monotonic()
        for attempt in count(1):
            answer = await self._with_renewal(sending)
            if not (isinstance(answer, RequestFailed) and answer.transient) or not self._may_repeat(answer, attempt):
                break
            pause = random.uniform(*pace.pauses(attempt))  # noqa: S311  no secret
            # The time in which the body moved doesn't count.
            if time.monotonic() - began - sending.moved_for + pause >= pace.deadline:
                break
            await asyncio.sleep(pause)
        return answer

    def _may_repeat(self, failed: RequestFailed, attempt: int) -> bool:
        """Return True if another attempt may follow: while a store is down or overloaded, only the deadline ends them.

        A request that is to be sent once is not repeated for that either.
        """
        is_down = failed.outage == "no route" or (failed.outage == "no name" and self._is_reached)
        self._is_reached |= not failed.outage
        is_waited_for = (is_down or failed.is_of_a_storm) and self._pace.attempts > 1
        if is_waited_for and attempt == self._pace.attempts:
            _log.warning(
                "The store %s (%s). The request is sent again for up to %.0f s.",
                "can't be reached" if is_down else "is overloaded or fails",
                failed.message or failed.code,
                self._pace.deadline,
            )
        return is_waited_for or attempt < self._pace.attempts

    async def _with_renewal(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        """Send it, and once more if only expired credentials made it fail and they can be looked up again."""
        answer = await self._adapted(sending)
        if isinstance(answer, RequestFailed) and answer.expired and are_found(self._options):
            self._client.drop(sending.used)
            answer = await self._adapted(sending)
        return answer

    async def _adapted(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        """Send it, and again without what the store refuses, until the store takes it or no change is left."""
        before = known_fit(sending.operation, self.support, self.sums)
        refitting = Refitting(sending.operation, sending.parameters.keys(), self._allowed, before)
        sending.fit_to(before)
        first = answer = await self._guarded(sending)
        while isinstance(answer, RequestFailed) and not self._on_aws:
            fit = refitting.after(answer)
            if fit is None:
                return refusal_to_report(first, answer) if isinstance(first, RequestFailed) else answer
            sending.fit_to(fit)
            answer = await self._guarded(sending)
        if not isinstance(answer, RequestFailed):
            learn_from_success(sending.operation, before, sending.fit, self.support)
        return answer

    async def _guarded(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        """Send it, but not to a key that is taken, where the store may ignore the condition."""
        if "Body" in sending.parameters and not sums_in(sending.sent):
            sending.signed = self._client.may_sign
        sending.create_only = self.create_only(sending.operation, sending.parameters)
        if sending.create_only == "listing" and (refusal := await self._look(sending)):
            return sending.failed(refusal)
        answer = await self._send_once(sending)
        if isinstance(answer, RequestFailed):
            learn_from_refusal(answer, self.support, self._allowed)
        return answer

    async def _look(self, sending: Sending) -> RequestFailed | None:
        """Return the refusal of a key that is taken, or the failure of the listing; None where the key is free.

        Without the permission to list, only the condition protects the key, and that is noted. Where the store refuses
        the condition too, the request is not sent.
        """
        where = {"Bucket": sending.parameters["Bucket"], "Prefix": sending.parameters["Key"], "MaxKeys": 1}
        listing = Sending("list_objects_v2", where, self._pace.quiet("list_objects_v2"))
        listed = await self._send_once(listing)
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

    async def _send_once(self, sending: Sending) -> dict[str, Any] | RequestFailed:
        try:
            with silence():
                async with sending.attempt(), self._client.in_use() as filesystem:
                    sending.used = id(filesystem)
                    # The underscored coroutine is fsspec's documented asynchronous form of the public call_s3.
                    reply = dict(await filesystem._call_s3(sending.operation, **sending.sent))  # noqa: SLF001
        except Exception as error:  # noqa: BLE001  read as text, so that its frames are freed
            failed = read_failure(sending.operation, error, self._options.scrubbed)
            kms = [KMS] if str(sending.sent.get("ServerSideEncryption")).startswith(KMS) else []
            failed.sent = frozenset({*sending.sent, *self._client.request_names, *kms})
            return sending.failed(failed)
        return reply if is_answer(sending.operation, reply) else sending.failed(no_answer(sending.operation, _OK))


def wait_for(future: Future[dict[str, Any]], timeout: float | None = None) -> dict[str, Any]:
    """Wait for a request's reply, at most `timeout` seconds. If the wait ends early, so does the request."""
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise
