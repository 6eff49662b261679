"""Decrypt a file of age for an X25519 key, as its specification has it: https://age-encryption.org/v1."""

from __future__ import annotations

import base64
import hmac
from itertools import pairwise

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_SEGMENT, _TAG = 64 * 1024, 16


def decrypt_age(data: bytes, identity: str) -> bytes:
    """Return the clear bytes of a file; raises where a key, the header's sum or a segment isn't right."""
    head, body = data.split(b"\n---", 1)
    mac, payload = body[1:].split(b"\n", 1)
    key = _file_key(head.decode().splitlines(), X25519PrivateKey.from_private_bytes(_bech32(identity)))
    expected = hmac.digest(_derive(key, b"", b"header"), head + b"\n---", "sha256")
    assert hmac.compare_digest(expected, _decoded(mac.decode()))
    cipher = ChaCha20Poly1305(_derive(key, payload[:16], b"payload"))
    segments, clear = payload[16:], b""
    size = _SEGMENT + _TAG
    number = max(1, -(-len(segments) // size))
    for at in range(number):
        nonce = at.to_bytes(11, "big") + bytes([at == number - 1])
        clear += cipher.decrypt(nonce, segments[at * size : (at + 1) * size], None)
    return clear


def _file_key(lines: list[str], secret: X25519PrivateKey) -> bytes:
    public = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    for line, wrapped in pairwise(lines):
        if line.startswith("-> X25519 "):
            share = _decoded(line.split()[2])
            shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
            wrap = _derive(shared, share + public, b"age-encryption.org/v1/X25519")
            try:
                return ChaCha20Poly1305(wrap).decrypt(bytes(12), _decoded(wrapped), None)
            except Exception:  # noqa: BLE001, S112  another recipient's
                continue
    raise AssertionError("the file is not encrypted for this key")


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt or None, info).derive(key)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _bech32(text: str) -> bytes:
    """Return the bytes of a text in Bech32, without a check of its sum."""
    bits = "".join(f"{_CHARSET.index(letter):05b}" for letter in text.lower().rpartition("1")[2][:-6])
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
