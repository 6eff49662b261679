"""Deliveries to a server that speaks https, under an authority of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

import mc_sink
from tests.servers.certificates import issue_certificate
from tests.servers.fault import FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink.sink.options import FormatName

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
