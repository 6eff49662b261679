"""Encrypted deliveries in shares, and in files of bounded size: public keys travel, and no secret does."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyrage
import pytest
from pysequoia import Tsk

import mc_sink
from mc_sink import (
    Age,
    AlreadyDelivered,
    AlreadyExistsError,
    CommitError,
    ConfigurationError,
    Csv,
    Delivery,
    Pgp,
    Share,
)
from mc_sink.encryption import Cipher, PublicKeys, encrypt_into
from tests.servers.faults import FOREVER, Status
from tests.support.age_reader import decrypt_age
from tests.support.openpgp import LONG_AGO, GnuPG
from tests.support.shared_deliveries import FRAME, open_on, stage_all, stage_there
from tests.support.small_deliveries import MANIFEST, RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.fault import FaultServer

needs_gpg = pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("gpgconf")), reason="GnuPG isn't installed")
IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())
PHRASE = "canary-phrase-4711"


@pytest.fixture(scope="module")
def gpg() -> Iterator[GnuPG]:
    """Yield a keyring with the key of a receiver."""
    with GnuPG() as keyring:
        keyring.make("receiver")
        yield keyring


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Yield a process that shares nothing with this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(params=["age", pytest.param("pgp", marks=needs_gpg)])
def receiver(request: pytest.FixtureRequest) -> tuple[Any, Callable[[Path], bytes]]:
    """Return what a receiver's key file holds, as an encryption, and how the receiver reads a file."""
    if request.param == "age":
        return (lambda path: Age(recipients=[path]), RECIPIENT.encode()), lambda file: decrypt_age(
            file.read_bytes(), str(IDENTITY)
        )
    keyring: GnuPG = request.getfixturevalue("gpg")
    return (lambda path: Pgp(recipients=[path]), keyring.public("receiver")), lambda file: keyring.decrypt(file)[0]


def read_all(receipt: mc_sink.Receipt, decrypt: Callable[[Path], bytes], schema: pl.Schema) -> pl.DataFrame:
    """Return the rows of all files as their receiver has them; their sums must be those of the receipt."""
    frames = []
    for file in receipt.files:
        clear, stored = decrypt(Path(file.path)), Path(file.path).read_bytes()
        assert file.clear == mc_sink.ClearBytes(len(clear), f"crc32:{zlib.crc32(clear):08x}")
        assert (file.num_bytes, file.checksum) == (len(stored), f"crc32:{zlib.crc32(stored):08x}")
        frames.append(pl.read_csv(io.BytesIO(clear), schema=schema))
    return pl.concat(frames)


def test_other_processes_encrypt_their_shares(receiver: Any, workers: ProcessPoolExecutor, tmp_path: Path) -> None:
    """With the keys that the driver read, whose file is gone; manifest and receipt have both checksums."""
    (encrypt, key), decrypt = receiver
    (tmp_path / "key").write_bytes(key)
    delivery = mc_sink.open_delivery(
        f"{tmp_path}/out/", FRAME.schema, encrypt=encrypt(tmp_path / "key"), format="csv", run_id=RUN
    )
    (tmp_path / "key").unlink()
    assert Delivery.from_json(delivery.to_json()) == delivery
    bounds = [(20, 60, 1), (0, 20, 0), (60, 60, 2)]
    futures = [workers.submit(stage_there, pickle.dumps(delivery), *one) for one in bounds]
    shares: list[Share] = [pickle.loads(future.result()) for future in futures]  # noqa: S301  our own
    assert [share.failure for share in shares] == [None] * 3
    assert all(path.name.startswith(".") for path in (tmp_path / "out").rglob("*") if path.is_file())
    receipt = delivery.publish(shares, num_shares=3)
    assert read_all(receipt, decrypt, FRAME.schema).equals(FRAME)
    manifest = json.loads(Path(str(receipt.manifest)).read_text("utf-8"))
    assert receipt.encryption is not None
    assert tuple(manifest["encryption"]["recipients"]) == receipt.encryption.recipients
    assert [one["clear"]["checksum"] for one in manifest["files"]] == [
        file.clear and file.clear.checksum for file in receipt.files
    ]
    assert receipt.verify().ok
    with pytest.raises(AlreadyDelivered):
        mc_sink.open_delivery(f"{tmp_path}/out/", FRAME.schema, encrypt=Age(recipients=[RECIPIENT]), run_id=RUN)


def test_a_key_that_signs_is_refused_with_shares(tmp_path: Path, state: Path) -> None:
    """It would travel. Neither the error nor its frames show it, and nothing is written."""
    secret = Tsk.generate("canary")
    public = bytes(secret.extract_certificate())
    encrypt = Pgp(recipients=[public], signer=bytes(secret), passphrase=PHRASE)
    with pytest.raises(ConfigurationError, match=r"the secret key would travel .* Leave signer= out") as raised:
        mc_sink.open_delivery(f"{tmp_path}/out/", FRAME.schema, encrypt=encrypt)
    frames = [frame for frame, _ in traceback.walk_tb(raised.value.__traceback__)]
    assert PHRASE not in f"{raised.value} {[str(one.f_locals) for one in frames]}"
    assert [path for path in (*tmp_path.rglob("*"), *state.rglob("*")) if path.is_file()] == []
    with pytest.raises(ConfigurationError, match="it holds a secret key"):
        mc_sink.open_delivery(f"{tmp_path}/out/", FRAME.schema, encrypt=Pgp(recipients=[bytes(secret)]))
    delivery = mc_sink.open_delivery(f"{tmp_path}/out/", FRAME.schema, encrypt=Pgp(recipients=[public]))
    travels = pickle.dumps(delivery) + delivery.to_json().encode()
    assert b"PUBLIC KEY" in travels
    assert b"PRIVATE" not in travels
    forged = replace(delivery, options={**delivery.options, "encrypt": encrypt})
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(forged)
    with pytest.raises(ConfigurationError, match="and not be JSON"):
        forged.to_json()


@needs_gpg
def test_a_key_that_expires_meanwhile_stops_workers_and_not_the_driver(gpg: GnuPG, tmp_path: Path) -> None:
    """What is staged can be published, or discarded; a further share is refused, with the key's fingerprint."""
    gpg.make("late", expires="1d", at=LONG_AGO)
    for ending in ("publish", "discard"):
        delivery = mc_sink.open_delivery(
            f"{tmp_path}/{ending}/", FRAME.schema, encrypt=Pgp(recipients=[gpg.public("receiver")]), format="csv"
        )
        share = delivery.stage(FRAME, number=0)
        keys: PublicKeys = delivery.options["encrypt"]
        expired = replace(keys, keys=(gpg.run("--armor", "--export", "late").decode(),))
        later = replace(delivery, options={**delivery.options, "encrypt": expired})
        refused = later.stage(FRAME, number=1)
        assert f"{gpg.fingerprint('late')}: it expired on 2020-01-02" in str(refused.failure)
        if ending == "publish":
            assert later.publish([share], num_shares=1).num_rows == FRAME.height
        else:
            assert later.discard([share]) == []
            assert [path for path in (tmp_path / ending).rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("tiny")
def test_an_interrupted_run_in_shares_ends_in_one_copy(fault_s3: FaultServer) -> None:
    """A rerun can't compare what is visible and says so; recovery publishes the rest; then the run is delivered."""
    how: dict[str, Any] = {"encrypt": Age(recipients=[RECIPIENT]), "format": "csv", "part_size": 0}
    delivery = open_on(fault_s3, **how)
    shares = stage_all(delivery)
    assert fault_s3.listing(fault_s3.bucket) == {}
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=2, times=FOREVER)
    with pytest.raises(CommitError):
        delivery.publish(shares, num_shares=3)
    fault_s3.heal()
    before = dict(fault_s3.listing(fault_s3.bucket))
    with pytest.raises(AlreadyExistsError, match=rf'mc_sink\.recover\("{RUN}"\) finishes'):
        open_on(fault_s3, **how)
    assert fault_s3.listing(fault_s3.bucket) == before
    mc_sink.recover(RUN, storage_options=fault_s3.storage_options)
    with pytest.raises(AlreadyDelivered):
        open_on(fault_s3, **how)
    keys = sorted(key for key in fault_s3.listing(fault_s3.bucket) if key != MANIFEST)
    clear = [decrypt_age(fault_s3.read(fault_s3.bucket, key), str(IDENTITY)) for key in keys]
    assert pl.concat(pl.read_csv(io.BytesIO(one), schema=FRAME.schema) for one in clear).equals(FRAME)


KILLED = """
import pickle, sys, time, polars as pl
delivery = pickle.loads(open(sys.argv[1], "rb").read())
def rows():
    for number in range(1_000):
        yield pl.DataFrame({"id": range(20_000)})
        print(number, flush=True)
        time.sleep(0.02)
delivery.stage(rows(), number=0)
"""


def test_a_worker_that_is_killed_leaves_nothing_visible(tmp_path: Path) -> None:
    """And its retry is the share."""
    frame = pl.DataFrame({"id": range(10)})
    delivery = mc_sink.open_delivery(f"{tmp_path}/out/", frame.schema, encrypt=Age(recipients=[RECIPIENT]))
    (tmp_path / "delivery").write_bytes(pickle.dumps(delivery))
    line = [sys.executable, "-c", KILLED, str(tmp_path / "delivery")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(3)] == ["0\n", "1\n", "2\n"]
        child.kill()
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name[0] != "."] == []
    receipt = delivery.publish([delivery.stage(frame, number=0)], num_shares=1)
    assert read_all(receipt, lambda file: decrypt_age(file.read_bytes(), str(IDENTITY)), frame.schema).equals(frame)


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_encrypted_files_keep_their_bound(tmp_path: Path, format: str) -> None:
    """As stored; each has its header, every row is there once, and files are worth their number."""
    dice = random.Random(7)  # noqa: S311  a test's dice
    frame = pl.DataFrame({"id": range(3_000), "text": [dice.randbytes(20).hex() for _ in range(3_000)]})
    receipt = mc_sink.sink_madconnect(
        frame,
        f"{tmp_path}/",
        format=format,  # type: ignore[arg-type]
        encrypt=Age(recipients=[RECIPIENT]),
        max_bytes_per_file=20_000,
        progress=False,
    )
    sizes = [Path(file.path).stat().st_size for file in receipt.files]
    assert sizes == [file.num_bytes for file in receipt.files]
    assert max(sizes) <= 20_000
    assert min(sizes[:-1]) > 10_000
    clear = [decrypt_age(Path(file.path).read_bytes(), str(IDENTITY)) for file in receipt.files]
    read = pl.read_parquet if format == "parquet" else pl.read_csv
    assert pl.concat(read(io.BytesIO(one)) for one in clear).equals(frame)


@needs_gpg
def test_signed_partitioned_and_bounded_files_are_decrypted_by_gpg(gpg: GnuPG, tmp_path: Path) -> None:
    """The bound is that of a preset, or the caller's; one that holds no file is refused."""
    frame = pl.DataFrame({"k": ["a", "b"] * 600, "text": [f"{number:040d}" for number in range(1_200)]})
    encrypt = Pgp(recipients=[gpg.public("receiver")])
    receipt = mc_sink.sink_madconnect(
        frame,
        f"{tmp_path}/out/",
        format="csv",
        encrypt=encrypt,
        partition_by="k",
        max_bytes_per_file=20_000,
        progress=False,
    )
    assert {file.partition and file.partition["k"] for file in receipt.files} == {"a", "b"}
    assert receipt.num_files > 2
    assert max(file.num_bytes for file in receipt.files) <= 20_000
    read = [
        pl.read_csv(io.BytesIO(gpg.decrypt(file.path)[0]), schema_overrides={"text": pl.String}).with_columns(
            k=pl.lit(file.partition and file.partition["k"])
        )
        for file in receipt.files
    ]
    assert pl.concat(read).select("k", "text").sort("text").equals(frame.sort("text"))
    preset = mc_sink.Preset(name="own", format=Csv(), max_bytes_per_file=30_000)
    split = mc_sink.sink_madconnect(frame, f"{tmp_path}/preset/", preset=preset, encrypt=encrypt, progress=False)
    assert split.num_files > 1
    assert max(file.num_bytes for file in split.files) <= 30_000
    with pytest.raises(ConfigurationError, match=r"A file without any rows takes [0-9,]+ bytes as \.csv\.pgp"):
        mc_sink.sink_madconnect(frame, f"{tmp_path}/small/", encrypt=encrypt, max_bytes_per_file=100, progress=False)


def test_a_file_of_another_run_is_not_called_an_attempt(tmp_path: Path) -> None:
    """Without a run id of the caller's, the file belongs to another run."""
    (tmp_path / "x.csv.age").write_bytes(b"another's")
    with pytest.raises(AlreadyExistsError) as raised:
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv.age", encrypt=Age(recipients=[RECIPIENT]), progress=False)
    assert "earlier attempt" not in str(raised.value)
    assert (tmp_path / "x.csv.age").read_bytes() == b"another's"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of what this is about
@pytest.mark.parametrize("kind", ["age", "pgp"])
def test_a_child_of_a_fork_keeps_no_pipe_open(kind: str) -> None:
    """The file ends while the child lives; its copy of the pipe is closed."""
    key = bytes(Tsk.generate("x").extract_certificate())
    cipher: Cipher = (Age(recipients=[RECIPIENT]) if kind == "age" else Pgp(recipients=[key])).cipher()
    stored = io.BytesIO()
    with encrypt_into(stored, cipher) as opened:
        opened.write(bytes(2**20))
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        opened.write(bytes(2**20))
    try:
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        assert len(stored.getvalue()) > 2 * 2**20
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
