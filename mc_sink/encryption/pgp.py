"""OpenPGP: encrypted by pysequoia, the Python binding of Sequoia, in a process beside this one."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink.encrypted import Encryption
from mc_sink.encryption import pgp_child
from mc_sink.encryption.cipher import CONTENT_TYPE, SUFFIX, missing, read_key, refuse_no_recipients
from mc_sink.encryption.piped import pipes
from mc_sink.exceptions import ConfigurationError, UploadError
from mc_sink.secret import Secret, Unpicklable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mc_sink.encryption.cipher import Sink

Key = str | os.PathLike[str] | bytes
_ARMOR = ("-----BEGIN PGP",)
_READ_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgp(Unpicklable):
    """OpenPGP encryption for everyone who has the secret key of one of `recipients`; files get the suffix `.pgp`.

    A key that has expired or was revoked, or that can't encrypt, is refused before the first byte. Subkeys that have
    expired or were revoked are left out.

    Arguments:
        recipients: Public keys: the path of a file, the armored text, or bytes.
        signer: The secret key that signs the files, in the same forms; by default they are not signed.
        passphrase: The passphrase of `signer`.

    Raises `ConfigurationError`.
    """

    recipients: Sequence[Key] = field(repr=False)
    signer: Key | None = field(default=None, repr=False)
    passphrase: str | Secret | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        refuse_no_recipients("Pgp", self.recipients)
        if self.passphrase is not None and self.signer is None:
            raise ConfigurationError("Pgp(passphrase=…) belongs to a signing key. Pass signer=, or leave it out.")
        if isinstance(self.passphrase, str):
            object.__setattr__(self, "passphrase", Secret(self.passphrase))

    def cipher(self) -> PgpCipher:
        """Read and check the keys. Raises `ConfigurationError`."""
        pysequoia = _library()
        certs = [cert for key in self.recipients for cert in _certs(pysequoia, key)]
        for cert in certs:
            _check_encrypts(pysequoia, cert)
        head: dict[str, Any] = {
            "folder": str(Path(str(pysequoia.__file__)).parent.parent),
            "recipients": [base64.b64encode(bytes(cert)).decode() for cert in certs],
            "signer": None,
            "passphrase": None,
        }
        fingerprint = None
        if self.signer is not None:
            data, fingerprint = _signer(pysequoia, self.signer, self.passphrase)
            head |= {"signer": base64.b64encode(data).decode(), "passphrase": _revealed(self.passphrase)}
        text = json.dumps(head).encode()
        facts = Encryption("pgp", tuple(cert.fingerprint.upper() for cert in certs), fingerprint)
        return PgpCipher(facts, len(text).to_bytes(4, "big") + text)

    def texts(self) -> list[str]:
        """Return the public keys as armored text."""
        pysequoia = _library()
        return [str(cert) for key in self.recipients for cert in _certs(pysequoia, key)]


@dataclass(frozen=True, slots=True, eq=False)
class PgpCipher:
    """OpenPGP with keys that were read and checked."""

    facts: Encryption
    head: bytes = field(repr=False)
    suffix: str = SUFFIX["pgp"]
    content_type: str = CONTENT_TYPE["pgp"]

    def start(self, below: Sink) -> tuple[int, Callable[[], None], Callable[[], None]]:
        """Begin a file; see `Cipher`. The process is in no session of a terminal, so that Ctrl-C comes here alone."""
        made = list[int]()
        try:
            made += pipes.pair()
            made += pipes.pair()
            child = subprocess.Popen(  # noqa: S603  this interpreter, and a program of this package
                [sys.executable, "-I", str(pgp_child.__file__)],
                stdin=made[0],
                stdout=made[3],
                stderr=subprocess.DEVNULL,  # a trace of the library may show keys
                start_new_session=True,
            )
        except BaseException:
            for end in made:
                pipes.close(end)
            raise
        clear, into, out, stored = made
        pipes.close(clear)
        pipes.close(stored)

        def work() -> None:
            try:
                while data := os.read(out, _READ_BYTES):
                    below.write(data)
            except BaseException:
                child.kill()
                raise
            finally:
                pipes.close(out)
                code = child.wait()
            if code:
                raise UploadError(f"The process that encrypts ended with code {code}. Rerun.")

        try:
            rest = memoryview(self.head)
            while rest:
                rest = rest[os.write(into, rest) :]
        except BrokenPipeError:
            pass  # `work` raises with the code of the process
        return into, work, child.kill


def _library() -> Any:
    try:
        import pysequoia
    except ImportError as error:
        raise missing("pysequoia") from error
    return pysequoia


def _certs(pysequoia: Any, key: Key) -> Iterator[Any]:
    """Yield the certificates of a key's text or file, without subkeys that have expired or were revoked."""
    from pysequoia.packet import PacketPile, Tag

    data, label = read_key("Pgp", key, _ARMOR)
    try:
        found = pysequoia.Cert.split_bytes(data)
        is_secret = any(packet.tag == Tag.SecretKey for packet in PacketPile.from_bytes(data)) if found else False
    except RuntimeError:  # its message has a trace
        found, is_secret = [], False
    if not found or is_secret:
        reason = "it holds a secret key; export the public one" if is_secret else "it holds no public key of OpenPGP"
        raise ConfigurationError(f"Pgp can't use {label} for a recipient: {reason}.")
    for cert in found:
        _check_alive(cert, "encrypt for")
        yield _without_old_subkeys(pysequoia, cert)


def _check_alive(cert: Any, use: str) -> None:
    if cert.is_revoked:
        raise ConfigurationError(f"Cannot {use} the key {cert.fingerprint.upper()}: it was revoked. Ask for a new one.")
    if cert.expiration is not None and cert.expiration <= datetime.now(UTC):
        raise ConfigurationError(
            f"Cannot {use} the key {cert.fingerprint.upper()}: it expired on {cert.expiration:%Y-%m-%d}. Ask for the "
            "key with its new date, or for the new key."
        )


def _without_old_subkeys(pysequoia: Any, cert: Any) -> Any:
    """Return a certificate without subkeys that have expired or were revoked, which pysequoia would encrypt for."""
    from pysequoia.packet import PacketPile, SignatureType, Tag

    groups: list[list[Any]] = [[]]
    for packet in PacketPile.from_bytes(bytes(cert)):
        if packet.tag == Tag.PublicSubkey:
            groups.append([])
        groups[-1].append(packet)
    head, *subkeys = groups
    kept = []
    for subkey, *signatures in subkeys:
        is_revoked = any(one.signature_type == SignatureType.SubkeyRevocation for one in signatures)
        bindings = [one for one in signatures if one.signature_type == SignatureType.SubkeyBinding]
        newest = max(bindings, key=lambda one: one.signature_created, default=None)
        period = newest.key_validity_period if newest else None
        if not is_revoked and (period is None or subkey.key_created + period > datetime.now(UTC)):
            kept += [subkey, *signatures]
    return pysequoia.Cert.from_packets(head + kept)


def _check_encrypts(pysequoia: Any, cert: Any) -> None:
    try:
        pysequoia.encrypt(b"", [cert], armor=False)
    except RuntimeError:  # its message has a trace
        raise ConfigurationError(
            f"Cannot encrypt for the key {cert.fingerprint.upper()}: it has no subkey for encryption that is "
            "valid now. Ask for a key that has one."
        ) from None


def _signer(pysequoia: Any, key: Key, passphrase: str | Secret | None) -> tuple[bytes, str]:
    """Return the bytes and the fingerprint of a signing key that works with its passphrase."""
    data, label = read_key("Pgp", key, _ARMOR)
    try:
        secret = pysequoia.Tsk.from_bytes(data)
        cert = secret.extract_certificate()
    except RuntimeError:
        raise ConfigurationError(f"Pgp can't sign with {label}: it holds no secret key of OpenPGP.") from None
    _check_alive(cert, "sign with")
    try:
        pysequoia.sign(secret.signer(_revealed(passphrase)), b"", armor=False)
    except RuntimeError:
        raise ConfigurationError(
            f"Cannot sign with the key {cert.fingerprint.upper()}: it can't sign, or its passphrase is wrong. "
            "Check passphrase=, or pass another key."
        ) from None
    return bytes(secret), cert.fingerprint.upper()


def _revealed(passphrase: str | Secret | None) -> str | None:
    """Return the plain passphrase; no frame keeps it, so that no traceback can show it."""
    return passphrase.reveal() if isinstance(passphrase, Secret) else passphrase
