"""Deliveries to a server that speaks https, under an authority of its own."""

from __future__ import annotations

import socketserver
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import polars as pl
import pytest

import mc_sink
from mc_sink.storage.s3.client import Requests
from tests.servers.certificates import issue_certificate
from tests.servers.fault import FaultServer
from tests.servers.faults import Body
from tests.support.plain_requests import failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink.sink.options import FormatName
    from mc_sink.storage.s3.retry_rules import Operation

ROWS = 400_000
FRAME = pl.select(id=pl.int_range(ROWS).hash(), name=pl.lit("user@example.com"))


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Return the file of the authority that vouches for the server."""
    return issue_certificate(tmp_path).authority


@pytest.fixture
def https_s3(authority: Path) -> Iterator[FaultServer]:
    """Give a server with the authority's certificate."""
    with FaultServer(certificate=authority.with_name("server.pem")) as server:
        yield server


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_a_trusted_store_gets_the_delivery(https_s3: FaultServer, authority: Path, format: FormatName) -> None:
    """What a store behind a trusted certificate keeps has the size and the bytes of the receipt."""
    options = https_s3.storage_options | {"client_kwargs": {"verify": str(authority)}}
    options["default_block_size"] = 5 * 2**20
    name = f"s3://{https_s3.bucket}/in/all.{format}"
    receipt = mc_sink.sink_madconnect(FRAME, name, storage_options=options)
    assert https_s3.url.startswith("https://")
    assert len(https_s3.read(https_s3.bucket, f"in/all.{format}")) == receipt.num_bytes
    assert receipt.verify().ok


def test_a_store_that_nobody_vouches_for_gets_nothing(https_s3: FaultServer) -> None:
    """The error names the certificate and the option, at the first attempt; no request arrived."""
    with pytest.raises(
        mc_sink.ConfigurationError, match=r"certificate is not trusted.*'verify'.*Nothing became visible"
    ):
        mc_sink.sink_madconnect(FRAME, f"s3://{https_s3.bucket}/in/", storage_options=https_s3.storage_options)
    assert not https_s3.log.ops()


TO_TLS = {
    "an alert of TLS 1.0": b"\x15\x03\x01\x00\x02\x02\x46",
    "an alert of TLS 1.2": b"\x15\x03\x03\x00\x02\x02\x16",
    "a server in Go": b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    "nginx": b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>"
    b"<head><title>400 The plain HTTP request was sent to HTTPS port</title></head><body></body></html>",
    "Apache": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<p>Reason: You're speaking plain HTTP to an "
    b"SSL-enabled server port.<br />\nInstead use the HTTPS scheme to access this URL, please.</p>",
    "Tomcat": b"HTTP/1.1 400\r\nConnection: close\r\n\r\nThis combination of host and port requires TLS.\r\n",
}


@pytest.mark.parametrize("reply", TO_TLS.values(), ids=TO_TLS)
@pytest.mark.parametrize("operation", ["list_objects_v2", "put_object"])
def test_plain_http_to_a_port_with_tls_is_a_mistake_at_once(reply: bytes, operation: Operation) -> None:
    """The reply shows it: one request is sent, nothing is uncertain, and the message says what to write."""
    with answering(reply) as (url, requests):
        options = {"key": "k", "secret": "s", "endpoint_url": url}
        body = {} if operation == "list_objects_v2" else {"Key": "k", "Body": b"abc"}
        failed = failure(Requests(options), operation, Bucket="bucket", **body)
        assert (failed.code, failed.attempts, failed.uncertain, len(requests)) == ("WantsTLS", 1, False, 1)
        with pytest.raises(mc_sink.ConfigurationError, match=r"expects TLS at this port.*Write https:// in endpoint"):
            mc_sink.sink_madconnect(FRAME, "s3://bucket/p/", storage_options=options)


def test_the_words_of_a_refusal_are_no_proof_over_tls(https_s3: FaultServer, authority: Path) -> None:
    """A gateway that itself speaks to its store in a wrong way says so too, and the endpoint is right."""
    https_s3.fault("List", Body(400, TO_TLS["nginx"]))
    requests = Requests(https_s3.storage_options | {"client_kwargs": {"verify": str(authority)}})
    assert failure(requests, "list_objects_v2", Bucket="bucket").status == 400


@contextmanager
def answering(reply: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of a server that answers each request with these bytes, and the requests that it got."""
    received: list[bytes] = []

    class Port(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            received.append(self.request.recv(2**16))
            self.request.sendall(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Port) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", received
        server.shutdown()
