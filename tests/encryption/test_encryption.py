"""Encrypted deliveries: read back by the reference tools, refused for bad keys, and nothing left by a failure."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

import jsonschema
import polars as pl
import psutil  # type: ignore[import-untyped]  # ships no types
import pyrage
import pytest
from pysequoia import Tsk

import mc_sink
from mc_sink import Age, Pgp, connector
from mc_sink.encryption import encrypt_into
from mc_sink.exceptions import AlreadyExistsError, ConfigurationError, UploadError
from tests.support.age_reader import decrypt_age
from tests.support.openpgp import LONG_AGO, GnuPG
from tests.support.shared_deliveries import open_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.encryption import Cipher
    from tests.servers.fault import FaultServer

needs_gpg = pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("gpgconf")), reason="GnuPG isn't installed")
FRAME = pl.DataFrame({"id": range(30_000), "text": [f"row {number}" for number in range(30_000)]})
PHRASE = "canary-phrase-4711"
IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())


@pytest.fixture(scope="module")
def gpg() -> Iterator[GnuPG]:
    """Return a keyring with the key of a receiver and that of a sender."""
    with GnuPG() as keyring:
        keyring.make("receiver")
        keyring.make("sender", passphrase=PHRASE)
        yield keyring


def crc(data: bytes) -> str:
    return f"crc32:{zlib.crc32(data):08x}"


def clear_file(folder: Path, name: str) -> bytes:
    """Return what a delivery in the clear has."""
    mc_sink.sink_madconnect(FRAME, folder / name, progress=False)
    return (folder / name).read_bytes()


@needs_gpg
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_gpg_decrypts_every_format_byte_for_byte(gpg: GnuPG, tmp_path: Path, name: str) -> None:
    """The clear bytes are those of a delivery in the clear; receipt and sums are of both."""
    encrypt = Pgp(recipients=[gpg.public("receiver")])
    receipt = mc_sink.sink_madconnect(FRAME, tmp_path / f"{name}.pgp", encrypt=encrypt, progress=False)
    (file,) = receipt.files
    stored = Path(file.path).read_bytes()
    clear, signer = gpg.decrypt(file.path)
    assert signer is None
    assert receipt.encryption == mc_sink.Encryption("pgp", (gpg.fingerprint("receiver"),))
    assert (file.num_bytes, file.checksum) == (len(stored), crc(stored))
    assert file.clear == mc_sink.ClearBytes(len(clear), crc(clear))
    if name != "rows.parquet":  # whose metadata has the run id
        assert clear == clear_file(tmp_path, name)
    read = pl.read_parquet(clear) if name.endswith("parquet") else pl.read_csv(io.BytesIO(clear))
    assert read.equals(FRAME)
    assert receipt.verify().ok
    assert gpg.fingerprint("receiver") in str(receipt)


@needs_gpg
def test_a_signed_and_split_delivery_names_its_keys_in_the_manifest(gpg: GnuPG, tmp_path: Path) -> None:
    """Every file is decrypted and its signature verified by gpg; the manifest has fingerprints and both checksums."""
    (tmp_path / "key.asc").write_bytes(gpg.run("--armor", "--export", "receiver"))
    encrypt = Pgp(recipients=[tmp_path / "key.asc"], signer=gpg.secret("sender", PHRASE), passphrase=PHRASE)
    receipt = mc_sink.sink_madconnect(
        FRAME, f"{tmp_path}/out/", format="csv", max_rows_per_file=12_000, encrypt=encrypt, progress=False
    )
    assert [Path(file.path).suffixes[-2:] for file in receipt.files] == [[".csv", ".pgp"]] * 3
    manifest = json.loads(Path(str(receipt.manifest)).read_text("utf-8"))
    schema = json.loads((Path(__file__).parents[2] / "docs" / "manifest.schema.json").read_text("utf-8"))
    jsonschema.validate(manifest, schema)
    assert manifest["encryption"] == {
        "kind": "pgp", "recipients": [gpg.fingerprint("receiver")], "signer": gpg.fingerprint("sender")
    }  # fmt: skip
    frames = []
    for file, listed in zip(receipt.files, manifest["files"], strict=True):
        clear, signer = gpg.decrypt(file.path)
        assert signer == gpg.fingerprint("sender")
        assert listed["clear"] == {"num_bytes": len(clear), "checksum": crc(clear)}
        assert listed["checksum"] == crc(Path(file.path).read_bytes())
        frames.append(pl.read_csv(io.BytesIO(clear)))
    assert pl.concat(frames).equals(FRAME)


@needs_gpg
def test_several_receivers_read_one_file(gpg: GnuPG, tmp_path: Path) -> None:
    """Also where their keys are in one file."""
    gpg.make("another")
    both = gpg.public("receiver") + gpg.public("another")
    receipt = mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv.pgp", encrypt=Pgp(recipients=[both]), progress=False)
    assert receipt.encryption is not None
    assert receipt.encryption.recipients == (gpg.fingerprint("receiver"), gpg.fingerprint("another"))
    assert len(gpg.recipients(tmp_path / "x.csv.pgp")) == 2


@needs_gpg
@pytest.mark.parametrize("case", ["expired", "revoked", "sign only", "secret", "subkey expired"])
def test_a_key_that_must_not_be_used_is_refused_before_the_first_byte(gpg: GnuPG, tmp_path: Path, case: str) -> None:
    """The error names the key by its fingerprint, or the reason; nothing is written, not even a folder."""
    name = f"{case}@x.de"
    if case == "sign only":
        gpg.run("--quick-gen-key", name, "ed25519", "cert,sign", "0")
    elif case == "subkey expired":
        gpg.run("--faked-system-time", LONG_AGO, "--quick-gen-key", name, "ed25519", "cert,sign", "0")
        gpg.add_subkey(name, expires="1d", at=LONG_AGO)
    else:
        gpg.make(name, expires="1d" if case == "expired" else "0", at=LONG_AGO if case == "expired" else None)
    if case == "revoked":
        gpg.revoke(name)
    key = gpg.secret(name) if case == "secret" else gpg.public(name)
    words = {
        "expired": f"{gpg.fingerprint(name)}: it expired on 2020-01-02",
        "revoked": f"{gpg.fingerprint(name)}: it was revoked",
        "secret": "it holds a secret key; export the public one",
    }.get(case, f"{gpg.fingerprint(name)}: it has no subkey for encryption that is valid now")
    with pytest.raises(ConfigurationError, match=words):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/out/", encrypt=Pgp(recipients=[key]), progress=False)
    assert [*tmp_path.iterdir()] == []


@needs_gpg
def test_a_subkey_that_expired_or_was_revoked_is_left_out(gpg: GnuPG, tmp_path: Path) -> None:
    """A receiver who made a new subkey gets files for that one alone."""
    gpg.run("--faked-system-time", LONG_AGO, "--quick-gen-key", "rotated", "ed25519", "cert,sign", "0")
    gpg.add_subkey("rotated", expires="1d", at=LONG_AGO)
    gpg.add_subkey("rotated")
    old, new = (fields[4] for fields in gpg.records("rotated", "sub"))
    encrypt = Pgp(recipients=[gpg.public("rotated")])
    mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv.pgp", encrypt=encrypt, progress=False)
    assert gpg.recipients(tmp_path / "x.csv.pgp") == {new} != {old}
    assert pl.read_csv(io.BytesIO(gpg.decrypt(tmp_path / "x.csv.pgp")[0])).equals(FRAME)


@needs_gpg
@pytest.mark.parametrize("phrase", [None, "wrong"])
def test_a_signing_key_without_its_passphrase_is_refused(gpg: GnuPG, tmp_path: Path, phrase: str | None) -> None:
    """And neither the passphrase nor the key is shown."""
    encrypt = Pgp(recipients=[gpg.public("receiver")], signer=gpg.secret("sender", PHRASE), passphrase=phrase)
    with pytest.raises(ConfigurationError, match=r"Cannot sign with the key .* Check passphrase=") as raised:
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv.pgp", encrypt=encrypt, progress=False)
    assert "wrong." not in str(raised.value).replace("passphrase is wrong.", "")
    frames = [frame for frame, _ in walk_tb(raised.tb) if "mc_sink" in frame.f_globals["__name__"]]
    assert frames
    assert not [frame for frame in frames if phrase and repr(phrase) in repr(frame.f_locals)]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_age_is_decrypted_byte_for_byte(tmp_path: Path, name: str) -> None:
    """By a reader of the specification, and by the tool age where it is installed."""
    receipt = mc_sink.sink_madconnect(
        FRAME, tmp_path / f"{name}.age", encrypt=Age(recipients=[RECIPIENT]), progress=False
    )
    (file,) = receipt.files
    stored = Path(file.path).read_bytes()
    clear = decrypt_age(stored, str(IDENTITY))
    assert file.clear == mc_sink.ClearBytes(len(clear), crc(clear))
    assert (file.num_bytes, file.checksum) == (len(stored), crc(stored))
    assert receipt.encryption == mc_sink.Encryption("age", (RECIPIENT,))
    if name != "rows.parquet":
        assert clear == clear_file(tmp_path, name)
    if shutil.which("age"):
        (tmp_path / "key").write_text(str(IDENTITY), "utf-8")
        line = ["age", "--decrypt", "--identity", str(tmp_path / "key"), file.path]
        assert subprocess.run(line, check=True, capture_output=True).stdout == clear


def test_recipients_of_age_come_from_files_and_from_ssh(tmp_path: Path) -> None:
    """A file has a key a line, and comments; a key of SSH is named by its fingerprint."""
    (tmp_path / "keys.txt").write_text(f"# receivers\n\n{RECIPIENT}\n", "utf-8")
    ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@host"
    receipt = mc_sink.sink_madconnect(
        FRAME, tmp_path / "x.csv.age", encrypt=Age(recipients=[tmp_path / "keys.txt", ssh]), progress=False
    )
    assert receipt.encryption is not None
    assert receipt.encryption.recipients[0] == RECIPIENT
    assert receipt.encryption.recipients[1].startswith("SHA256:")
    assert len(decrypt_age((tmp_path / "x.csv.age").read_bytes(), str(IDENTITY))) > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Age(recipients=[]).cipher(), "needs a list with the public key"),
        (lambda: Age(recipients=RECIPIENT).cipher(), "needs a list with the public key"),
        (lambda: Age(recipients=[str(IDENTITY)]).cipher(), "it holds a secret key"),
        (lambda: Age(recipients=[RECIPIENT[:-1] + "b"]).cipher(), "Check that it is whole"),
        (lambda: Age(recipients=["/nowhere/key"]).cipher(), "Cannot read a key for Age: No such file"),
        (lambda: Age(recipients=[7]).cipher(), "can't read a key from a int"),  # type: ignore[list-item]
        (lambda: Pgp(recipients=[b"junk"]).cipher(), "it holds no public key of OpenPGP"),
        (lambda: Pgp(recipients=[b""]).cipher(), "it holds no public key of OpenPGP"),
        (lambda: Pgp(recipients=[b"x"], passphrase="y"), "belongs to a signing key"),
    ],
)
def test_a_key_that_can_not_be_read_is_refused(make: Any, words: str) -> None:
    """With the reason, and never with the key itself."""
    with pytest.raises(ConfigurationError, match=words) as raised:
        make()
    assert str(IDENTITY) not in str(raised.value)


def test_names_show_the_encryption(tmp_path: Path) -> None:
    """A name without its suffix is refused, as is one with it and no encryption."""
    encrypt = Age(recipients=[RECIPIENT])
    with pytest.raises(ConfigurationError, match=r"doesn't end in \.age.* Use 'x\.csv\.age'"):
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv", encrypt=encrypt, progress=False)
    with pytest.raises(ConfigurationError, match="suffix of another format"):
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv.age", format="csv", progress=False)
    named = mc_sink.sink_madconnect(
        FRAME, f"{tmp_path}/", name="day-{run_id}{ext}", run_id="1", format="csv.gz", encrypt=encrypt, progress=False
    )
    assert named.files[0].path.endswith("/day-1.csv.gz.age")


def test_no_load_statement_reads_encrypted_files(tmp_path: Path) -> None:
    """It would read them as text."""
    receipt = mc_sink.sink_madconnect(
        FRAME, tmp_path / "x.csv.age", encrypt=Age(recipients=[RECIPIENT]), progress=False
    )
    for dialect in ("duckdb", "pandas"):
        with pytest.raises(ConfigurationError, match="the files are encrypted with age"):
            receipt.load_statement("t", dialect)


def test_a_repeated_run_says_that_it_can_not_compare(tmp_path: Path) -> None:
    """Encrypted bytes differ each time: the file stays as it is, and the error says what to do."""
    encrypt = Age(recipients=[RECIPIENT])
    first = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", run_id="day", encrypt=encrypt, progress=False)
    before = Path(first.files[0].path).read_bytes()
    with pytest.raises(AlreadyExistsError, match="Encrypted files have other bytes each time"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", run_id="day", encrypt=encrypt, progress=False)
    assert Path(first.files[0].path).read_bytes() == before
    with pytest.raises(AlreadyExistsError, match=r"that this one doesn't make, such as .*day\.csv\.age"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", run_id="day", format="csv", progress=False)
    for run_id in ("day.csv", "day.csv.gz"):  # whose files have other names
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", run_id=run_id, format="csv.gz", encrypt=encrypt, progress=False)


def test_a_platform_keeps_the_receiver_s_keys(
    fault_s3: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every delivery on it is encrypted for them, and one with keys of its own for those."""
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(tmp_path))
    options = fault_s3.storage_options
    made = mc_sink.Platform(
        name="acme",
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        endpoint=options["endpoint_url"],
        recipients=(RECIPIENT,),
    )
    assert "encrypts for='1 key'" in repr(made)
    mc_sink.platforms.save(made, store="file")
    assert mc_sink.platforms.load("acme").recipients == (RECIPIENT,)
    target = f"s3://{fault_s3.bucket}/p/"
    receipt = mc_sink.sink_madconnect(FRAME, target, platform="acme", progress=False)
    assert receipt.encryption == mc_sink.Encryption("age", (RECIPIENT,))
    key = receipt.files[0].path.removeprefix(f"s3://{fault_s3.bucket}/")
    assert key.endswith(".csv.age")
    assert pl.read_csv(io.BytesIO(decrypt_age(fault_s3.read(fault_s3.bucket, key), str(IDENTITY)))).equals(FRAME)
    another = str(pyrage.x25519.Identity.generate().to_public())
    own = mc_sink.sink_madconnect(FRAME, target, platform=made, encrypt=Age(recipients=[another]), progress=False)
    assert own.encryption == mc_sink.Encryption("age", (another,))
    keyless = mc_sink.Platform(name="open", endpoint=options["endpoint_url"], recipients=(RECIPIENT,))
    shares = open_on(fault_s3, FRAME.schema, platform=keyless, storage_options=None)
    assert shares.stage(FRAME, number=0).files[0].path.endswith(".csv.age")
    for wrong in ("age1wrong", str(IDENTITY)):
        with pytest.raises(ConfigurationError) as raised:
            mc_sink.Platform(name="acme", recipients=(wrong,)).checked()
        assert str(IDENTITY) not in str(raised.value)


def test_a_connection_file_names_the_keys(tmp_path: Path) -> None:
    """Their paths begin at the file's folder; a passphrase and another type are refused; the history keeps both."""
    (tmp_path / "keys.txt").write_text(f"{RECIPIENT}\n", "utf-8")
    FRAME.write_parquet(tmp_path / "rows.parquet")
    text = 'target = "out/"\n[source]\nfiles = "rows.parquet"\n[encrypt]\nrecipients = ["keys.txt"]\n'
    (tmp_path / "daily.toml").write_text(f'{text}type = "age"\n', "utf-8")
    run = connector.deliver(connector.load(tmp_path / "daily.toml"), progress=False)
    (file,) = run.files
    clear = decrypt_age(Path(file.path).read_bytes(), str(IDENTITY))
    assert pl.read_csv(io.BytesIO(clear)).equals(FRAME)
    kept = connector.find_run(run.run_id)
    assert kept.files[0].clear == mc_sink.ClearBytes(len(clear), crc(clear))
    wrong = {'type = "pgp"\npassphrase = "x"': "can't have a passphrase", 'type = "zip"': "needs a type"}
    for more, words in wrong.items():
        (tmp_path / "wrong.toml").write_text(f"{text}{more}\n", "utf-8")
        with pytest.raises(ConfigurationError, match=words):
            connector.deliver(connector.load(tmp_path / "wrong.toml"), progress=False)


def test_secrets_are_not_shown() -> None:
    """Neither in a repr nor in a pickle."""
    secret = Pgp(recipients=[b"x"], signer="-----BEGIN PGP canary", passphrase=PHRASE)
    assert "canary" not in repr(secret)
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(secret)


class Failing(io.RawIOBase):
    """A file that fails after some bytes."""

    def __init__(self, after: int) -> None:
        self.after, self.num_bytes = after, 0

    def write(self, data: Any) -> int:
        """Count bytes, and fail for lack of space."""
        self.num_bytes += len(data)
        if self.num_bytes > self.after:
            raise OSError(28, "canary: no space")
        return len(data)


@pytest.fixture(params=["age", "pgp"])
def cipher(request: pytest.FixtureRequest) -> Cipher:
    """Either encryption, with a key of its own."""
    if request.param == "age":
        return Age(recipients=[RECIPIENT]).cipher()
    return Pgp(recipients=[bytes(Tsk.generate("x").extract_certificate())]).cipher()


def children() -> list[psutil.Process]:
    """Return the children of this process that encrypt."""
    return [child for child in psutil.Process().children() if any("pgp_child" in word for word in child.cmdline())]


def encrypt_all(stored: Any, cipher: Cipher, pieces: Iterator[bytes]) -> None:
    """Encrypt all pieces into a file."""
    with encrypt_into(stored, cipher) as opened:
        for piece in pieces:
            opened.write(piece)


def test_an_error_of_the_file_is_raised_as_it_is(cipher: Cipher) -> None:
    """Also in the middle of the bytes, and no process is left."""
    pieces = (bytes(2**20) for _ in range(64))
    with pytest.raises(OSError, match="canary: no space"):
        encrypt_all(Failing(3 * 2**20), cipher, pieces)
    assert children() == []


def test_an_error_of_the_rows_ends_the_encryption(cipher: Cipher) -> None:
    """It is raised as it is, and no process is left."""

    def pieces() -> Iterator[bytes]:
        yield bytes(2**20)
        raise KeyError("rows")

    with pytest.raises(KeyError):
        encrypt_all(io.BytesIO(), cipher, pieces())
    assert children() == []


def test_a_process_that_dies_is_an_error() -> None:
    """A file that it had begun is not taken for complete."""
    pgp = Pgp(recipients=[bytes(Tsk.generate("x").extract_certificate())]).cipher()

    def pieces() -> Iterator[bytes]:
        yield bytes(2**20)
        for child in children():
            child.kill()
        yield bytes(8 * 2**20)

    with pytest.raises(UploadError, match="The encryption with pgp failed before the end"):
        encrypt_all(io.BytesIO(), pgp, pieces())
    assert children() == []


def test_memory_does_not_grow_with_the_file(cipher: Cipher) -> None:
    """A slow store slows the writer down: at most 12 MiB of 64 are on the way at any time."""
    taken = 0
    furthest = 0

    class Slow(io.RawIOBase):
        def write(self, data: Any) -> int:
            nonlocal taken
            time.sleep(0.0005)
            taken += len(data)
            return len(data)

    with encrypt_into(Slow(), cipher) as opened:
        for number in range(1, 65):
            opened.write(os.urandom(2**20))
            furthest = max(furthest, number * 2**20 - taken)
    assert furthest < 12 * 2**20
    assert taken > 64 * 2**20


KILLED = """
import sys, time, polars as pl, mc_sink
def rows():
    for number in range(1_000):
        yield pl.DataFrame({"id": range(20_000)})
        print(number, flush=True)
        time.sleep(0.02)
kind = mc_sink.Age if sys.argv[2].startswith("age1") else mc_sink.Pgp
encrypt = kind(recipients=[sys.argv[2]])
mc_sink.sink_madconnect(rows(), sys.argv[1], format="csv", encrypt=encrypt, progress=False)
"""


@pytest.mark.parametrize("kind", ["age", "pgp"])
def test_a_killed_run_leaves_nothing_visible(tmp_path: Path, kind: str) -> None:
    """Neither a file nor the process that encrypted it."""
    key = RECIPIENT
    if kind == "pgp":
        key = str(tmp_path / "key")
        (tmp_path / "key").write_bytes(bytes(Tsk.generate("x").extract_certificate()))
    out = tmp_path / "out"
    line = [sys.executable, "-c", KILLED, f"{out}/", key]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(5):
            assert child.stdout.readline()
        beside = psutil.Process(child.pid).children(recursive=True)
        assert len(beside) == (kind == "pgp")
        child.kill()
    assert [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")] == []
    _, alive = psutil.wait_procs(beside, timeout=10)
    assert alive == []


@pytest.mark.usefixtures("tiny")
def test_an_encrypted_delivery_to_a_store_is_whole_or_nothing(fault_s3: FaultServer, cipher: Cipher) -> None:
    """Its parts are those of the encrypted bytes; rows that fail leave neither an object nor an upload."""
    suffix = cipher.suffix
    key = bytes(Tsk.generate("x").extract_certificate())
    encrypt = Age(recipients=[RECIPIENT]) if suffix == ".age" else Pgp(recipients=[key])
    options: Any = {"storage_options": fault_s3.storage_options, "encrypt": encrypt, "progress": False}

    def failing() -> Iterator[pl.DataFrame]:
        yield FRAME
        raise KeyError("rows")

    with pytest.raises(KeyError):
        mc_sink.sink_madconnect(failing(), f"s3://{fault_s3.bucket}/p/x.csv{suffix}", **options)
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    receipt = mc_sink.sink_madconnect(FRAME, f"s3://{fault_s3.bucket}/p/x.csv{suffix}", **options)
    stored = fault_s3.read(fault_s3.bucket, f"p/x.csv{suffix}")
    assert receipt.files[0].checksum == crc(stored)
    if suffix == ".age":
        assert pl.read_csv(io.BytesIO(decrypt_age(stored, str(IDENTITY)))).equals(FRAME)
