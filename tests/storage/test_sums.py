"""Checksums as a store takes them: chosen by the caller, or learnt from the first refusal; and what they prove."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import ConfigurationError, SinkError, platforms
from mc_sink.platforms import Platform, check
from mc_sink.platforms.secret_store import platforms_folder
from mc_sink.staged import Part
from mc_sink.storage.s3.checksums import ALGORITHMS, SUMS, of_whole
from mc_sink.storage.s3.client import Requests
from tests.servers import checksums
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, FlipByte, Reset
from tests.servers.profiles import OVH, R2, STORAGEGRID_120
from tests.servers.rules import NOT_IMPLEMENTED, WRITER, Rules
from tests.support.frames import FORMATS, as_text, numbers
from tests.support.keyrings import installed
from tests.support.small_deliveries import FRAME, RUN, TINY, deliver, manifest_of, options, rows, seen

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.sandbox.admin import Writer

pytestmark = pytest.mark.usefixtures("tiny")
SHAPES: dict[str, dict[str, Any]] = {
    "Put": {"part_size": 2**20, "max_rows_per_file": None},
    "upload": {"max_rows_per_file": None},
    "several": {},
}
PROOFS = {"CRC32": "crc32", "SHA256": "sha256", "CRC64NVME": "crc64"}
KINDS = {"CRC32": "FULL_OBJECT", "SHA256": "COMPOSITE", "CRC64NVME": "FULL_OBJECT"}
NAMED = "The checksum algorithm CRC32 is not supported. Supported are: {}."


def chosen(server: FaultServer, algorithm: str, part_size: int = 400, **more: Any) -> dict[str, Any]:
    """Return storage options that ask for an algorithm."""
    return options(server, part_size) | {"checksum_algorithm": algorithm} | more


def run(server: FaultServer, algorithm: str, shape: str = "several", **how: Any) -> mc_sink.Receipt:
    """Deliver with an algorithm that was asked for."""
    usual: dict[str, Any] = {"run_id": RUN, "max_rows_per_file": 20, "progress": False, "manifest": True}
    how = usual | SHAPES[shape] | how
    asked = chosen(server, algorithm, how.pop("part_size", 400))
    return mc_sink.sink_madconnect(FRAME, server.writer.target("p/"), storage_options=asked, **how)


def sums_sent(server: FaultServer) -> set[str]:
    """Return the headers of checksums that the writes of data carried."""
    sent = [one.headers for one in server.log.of("Put", "Create", "Part", "Complete")]
    return {name for headers in sent for name in headers if name.startswith(checksums.PREFIX)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("format", FORMATS)
def test_an_algorithm_that_was_chosen_is_sent_and_proves_the_bytes(
    format: Any, algorithm: str, shape: str, tmp_path: Path
) -> None:
    """Every body carries it and no other, the store keeps it, and the receipt and the manifest have the word for it."""
    with FaultServer(TINY) as server:
        receipt = run(server, algorithm, shape, format=format)
        assert {file.integrity for file in receipt.files} == {PROOFS[algorithm]}
        assert {file["integrity"] for file in manifest_of(server)["files"]} == {PROOFS[algorithm]}
        assert receipt.verify().ok
        assert rows(server, format, tmp_path).equals(as_text(FRAME, format))
        name = algorithm.lower()
        assert sums_sent(server) <= {f"x-amz-checksum-{word}" for word in (name, "algorithm", "type")}
        for file in receipt.files:
            kept = seen(server)[file.path.removeprefix(server.writer.target(""))].checksum
            assert kept is not None
            assert (kept.algorithm, kept.kind) == (name, "FULL_OBJECT" if shape == "Put" else KINDS[algorithm])
        assert run(server, algorithm, shape, format=format).num_found == receipt.num_files


@pytest.mark.parametrize("op", ["Put", "Part"])
@pytest.mark.parametrize("algorithm", ["SHA256", "CRC64NVME"])
def test_a_body_that_was_altered_is_refused_by_its_sum(algorithm: str, op: str) -> None:
    """Once it is sent again; each time it is an error, and nothing is visible."""
    with FaultServer(TINY) as server:
        server.fault(op, FlipByte(1))
        assert run(server, algorithm, "Put" if op == "Put" else "upload").verify().ok
    with FaultServer(TINY) as server:
        server.fault(op, FlipByte(1), times=FOREVER)
        with pytest.raises(SinkError):
            run(server, algorithm, "Put" if op == "Put" else "upload")
        assert seen(server) == {}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("shape", ["Put", "upload"])
def test_a_lost_reply_is_settled_whatever_the_sum(algorithm: str, shape: str) -> None:
    """By the listing, or by `recover`, which reads the sums of the parts from the journal."""
    op = "Put" if shape == "Put" else "Complete"
    with FaultServer(TINY) as server:
        server.fault(op, Reset(), when="after")
        assert run(server, algorithm, shape, manifest=False).verify().ok
    with FaultServer(TINY) as server:
        server.fault(op, Reset("head"), times=FOREVER)
        with pytest.raises(mc_sink.CommitUnknown):
            run(server, algorithm, shape)
        server.heal()
        receipt = mc_sink.recover(RUN, storage_options=options(server))
        assert receipt.verify().ok
        assert {file.integrity for file in receipt.files} == {PROOFS[algorithm if shape == "upload" else "CRC32"]}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("rules", "integrity"),
    [
        (OVH.rules, "sha256"),
        (STORAGEGRID_120.rules, "sha256"),
        (Rules(sums={"CRC64NVME": {"FULL_OBJECT"}}, no_sum=NOT_IMPLEMENTED), "crc64"),
        (
            Rules(
                sums={"CRC64NVME": {"FULL_OBJECT"}, "SHA256": {"COMPOSITE"}},
                no_sum=(400, "InvalidArgument", NAMED.format("CRC64NVME")),
            ),
            "crc64",
        ),
        (Rules(sums={}, no_sum=NOT_IMPLEMENTED), "sha256"),
    ],
    ids=["ovh", "storagegrid", "crc64nvme", "named", "none"],
)
def test_another_checksum_is_learnt_from_the_refusal(rules: Rules, integrity: str, shape: str) -> None:
    """CRC32 is refused: the next one goes, at once the one that the refusal names; none, and signed, is the last."""
    with FaultServer(replace(rules, min_part_size=1)) as server:
        receipt = deliver(server, **SHAPES[shape])
        assert {file.integrity for file in receipt.files} == {integrity}
        assert receipt.verify().ok
        refused = [one for one in server.log if one.status in {400, 501}]
        last = max(one.n for one in refused)
        named = "Supported are" in rules.no_sum[2]
        assert not named or len(refused) == 1
        if rules.sums:
            taken = {f"x-amz-checksum-{name.lower()}" for name in rules.sums}
            bodies = [one.headers for one in server.log.of("Put", "Part") if one.n > last]
            assert all(taken & headers.keys() for headers in bodies)


@pytest.mark.parametrize("learnt_by", ["check", "delivery"])
@pytest.mark.parametrize("rules", [OVH.rules, Rules(sums={"CRC64NVME": {"FULL_OBJECT"}}, no_sum=NOT_IMPLEMENTED)])
def test_what_was_learnt_is_kept_with_the_platform(rules: Rules, learnt_by: str) -> None:
    """The next process sends the checksum that the store takes, and nothing that it refuses."""
    with installed(), FaultServer(rules) as server:
        platforms.save(
            Platform(name="acme", access_key_id=WRITER.key, secret_access_key=WRITER.secret, endpoint=server.url)
        )

        def send(name: str) -> mc_sink.Receipt:
            return mc_sink.sink_madconnect(numbers(4), f"s3://bucket/p/{name}.csv", platform="acme", progress=False)

        if learnt_by == "check":
            assert check("acme", "s3://bucket/p/", leaving="an object").status == "Configured"
        else:
            send("first")
        (kept,) = json.loads((platforms_folder() / "acme.json").read_text())["ways"]
        assert kept["facts"]["sums"] == ("sha256" if "SHA256" in rules.sums else "crc64nvme")
        before = max(one.n for one in server.log)
        assert send("second").verify().ok
        assert [one.status for one in server.log if one.n > before and one.status >= 400] == []


def test_a_chosen_algorithm_that_is_refused_is_not_replaced() -> None:
    """The caller asked for it: the error names the option, and nothing else is sent."""
    with FaultServer(replace(STORAGEGRID_120.rules, min_part_size=1)) as server:
        with pytest.raises(ConfigurationError, match=r"checksum.*no checksum_algorithm"):
            run(server, "CRC64NVME", if_exists="overwrite")
        assert seen(server) == {}
        assert sums_sent(server) == {"x-amz-checksum-algorithm"}


def test_r2_takes_crc64nvme_of_the_whole() -> None:
    """There CRC32 is of parts only; one of the whole object is to be had by choice."""
    with FaultServer(replace(R2.rules, min_part_size=1)) as server:
        receipt = run(server, "CRC64NVME")
        assert {file.integrity for file in receipt.files} == {"crc64"}
        assert [one.status for one in server.log if one.status in {400, 501}] == []


@pytest.mark.parametrize("calculation", ["when_required", "when_supported"])
def test_a_chosen_algorithm_goes_before_botocores_setting(calculation: str) -> None:
    """As a request of botocore's with an algorithm has it with every `request_checksum_calculation`."""
    asked = {"key": "k", "secret": "s", "config_kwargs": {"request_checksum_calculation": calculation}}
    assert Requests(asked | {"checksum_algorithm": "sha256"}).sums == "sha256"
    assert Requests(asked).sums == ("none" if calculation == "when_required" else "full")


@pytest.mark.parametrize("name", ["SHA1", "", "crc"])
def test_an_unknown_algorithm_is_refused(name: str) -> None:
    """Before anything is sent, with the known ones."""
    with FaultServer(TINY) as server:
        with pytest.raises(ConfigurationError, match=r"checksum_algorithm.*CRC32, SHA256, CRC64NVME"):
            run(server, name)
        assert list(server.log) == []


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its algorithm is asked for; elsewhere it is not missed, and no store is asked to take it."""
    monkeypatch.setattr("mc_sink.storage.s3.checksums.find_spec", lambda _: None)
    with FaultServer(TINY) as server:
        with pytest.raises(
            ConfigurationError, match=r"needs the library awscrt\. Run pip install 'mc-sink\[crc64nvme\]'"
        ):
            run(server, "CRC64NVME")
        assert list(server.log) == []
    with FaultServer(Rules(sums={"CRC64NVME": {"FULL_OBJECT"}}, no_sum=NOT_IMPLEMENTED, min_part_size=1)) as server:
        receipt = deliver(server)
        assert {file.integrity for file in receipt.files} == {"sha256"}
        assert "x-amz-checksum-crc64nvme" not in sums_sent(server)


@pytest.mark.parametrize("sums", SUMS)
@pytest.mark.parametrize("pieces", [[b""], [b"123456789"], [b"1", b"", b"2345678", b"9"]])
def test_sums_are_those_of_s3(sums: Any, pieces: list[bytes]) -> None:
    """Over pieces as over the whole, as the tests' server computes them."""
    one = checksums.summing(SUMS[sums].algorithm.lower())
    one.update(memoryview(b"".join(pieces)))
    assert SUMS[sums].of(map(memoryview, pieces)) == checksums.encode(one.digest())


def test_the_sums_of_parts_make_that_of_the_whole() -> None:
    """CRC64NVME is combined from the parts', of any sizes."""
    bodies = [b"123", b"4567890" * 100, b"x"]
    parts = [
        Part(number, "", len(body), SUMS["crc64nvme"].of([memoryview(body)])) for number, body in enumerate(bodies, 1)
    ]
    whole = SUMS["crc64nvme"].of([memoryview(b"".join(bodies))])
    assert of_whole("crc64nvme", parts, "") == {"ChecksumCRC64NVME": whole}
    assert of_whole("sha256", parts, "") == of_whole("composite", parts, "") == of_whole("none", parts, "") == {}


def test_a_whole_that_the_store_sums_otherwise_is_an_error() -> None:
    """Complete echoes another CRC64NVME of the object than that of the parts: it is not what was sent."""
    etag = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    wrong = b64encode(bytes(8)).decode()
    answer = (
        f"<CompleteMultipartUploadResult><Key>p/{RUN}.csv</Key><ETag>{etag}-1</ETag>"
        f"<ChecksumCRC64NVME>{wrong}</ChecksumCRC64NVME></CompleteMultipartUploadResult>"
    )
    with FaultServer(replace(TINY, etags="opaque")) as server:
        server.fault("Complete", Body(200, answer.encode()), when="after")
        with pytest.raises(mc_sink.CommitError, match="is not what was sent"):
            run(server, "CRC64NVME", "upload", manifest=False)


BY_CRT = """
import json, sys
import botocore.auth, polars as pl
import mc_sink
assert "Crt" in botocore.auth.AUTH_TYPE_MAPS["s3v4"].__name__
target, options = sys.argv[1], json.loads(sys.argv[2])
for rows, several in ((10, None), (1_000_000, 600_000)):
    receipt = mc_sink.sink_madconnect(
        pl.DataFrame({"a": range(rows)}), f"{target}{rows}/", storage_options=options, max_rows_per_file=several,
        progress=False,
    )
    assert receipt.verify().ok
    print({file.integrity for file in receipt.files})
"""


@pytest.mark.parametrize("signed", [False, True])
def test_botocores_signer_by_awscrt_signs_deliveries_too(writer: Writer, *, signed: bool) -> None:
    """Botocore signs with awscrt where that is installed: a real server takes it, with bodies signed or not.

    All other tests sign with Python, as most users do; see the package of the tests.
    """
    asked = writer.storage_options | {"config_kwargs": {"s3": {"payload_signing_enabled": signed}}}
    environment = {name: value for name, value in os.environ.items() if name != "BOTO_DISABLE_CRT"}
    done = subprocess.run(
        [sys.executable, "-c", BY_CRT, writer.target("p/"), json.dumps(asked)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'crc32'}", "{'crc32'}"]
