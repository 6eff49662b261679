"""Requests to a store that goes wrong, and the short words by which their tests speak of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.request import PartBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.storage.s3.retry_rules import Operation
    from tests.servers.fault import FaultServer

# By what name the server's log knows an operation.
OPS: dict[Operation, str] = {
    "create_multipart_upload": "Create",
    "upload_part": "Part",
    "complete_multipart_upload": "Complete",
    "put_object": "Put",
    "abort_multipart_upload": "Abort",
    "list_objects_v2": "List",
    "list_multipart_uploads": "ListUploads",
}
WHERE = {"Bucket": "bucket", "Key": "p/x.csv"}
MIB = 2**20


def requests_to(server: FaultServer, read_timeout: float = 5, **options: Any) -> Requests:
    """Return requests to the server, as its writer, who may list uploads too; the timeout is one for a busy machine."""
    server.rules = replace(server.rules, granted={*server.rules.granted, "ListUploads"})
    asked = server.storage_options | {"config_kwargs": {"read_timeout": read_timeout}} | options
    return Requests({name: value for name, value in asked.items() if value is not None})


def body_of(num_bytes: int) -> PartBody:
    """Make a body as the engine would, in pieces."""
    return PartBody([memoryview(bytes(min(MIB, num_bytes - start))) for start in range(0, num_bytes, MIB)])


def ready(requests: Requests, operation: Operation, body: PartBody | None = None) -> dict[str, Any]:
    """Return parameters with which an operation succeeds; what it needs to be there has been made."""
    if operation in {"list_objects_v2", "list_multipart_uploads"}:
        return {"Bucket": WHERE["Bucket"]}
    if operation == "create_multipart_upload":
        return dict(WHERE)
    if operation == "put_object":
        return WHERE | {"Body": b"abc"}
    upload = WHERE | {"UploadId": requests.call("create_multipart_upload", **WHERE)["UploadId"]}
    part = upload | {"PartNumber": 1, "Body": body or body_of(3)}
    if operation == "upload_part":
        return part
    if operation == "abort_multipart_upload":
        return upload
    etag = requests.call("upload_part", **part)["ETag"]
    return upload | {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}


def failure(requests: Requests, operation: Operation, **parameters: Any) -> RequestFailed:
    """Send a request that must fail, and give its failure."""
    with pytest.raises(RequestFailed) as raised:
        requests.call(operation, **parameters)
    return raised.value


def comes_true(question: Callable[[], bool]) -> bool:
    """Ask until the answer is yes, for half a minute."""
    for _ in range(3_000):
        if question():
            return True
        time.sleep(0.01)
    return False


class Stopwatch:
    """Tells how many seconds have passed since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """The time until now."""
        return time.monotonic() - self._started
