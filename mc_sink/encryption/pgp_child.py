"""Encrypt standard input to standard output with OpenPGP: a program that runs in a process of its own, by its path.

pysequoia encrypts files as a stream, but holds Python's lock meanwhile (measured), so that a thread of the same process
could neither write to it nor read from it. The keys come first on standard input, so that no argument has a secret.
"""

from __future__ import annotations

import base64
import json
import os
import sys

_LENGTH_BYTES = 4


def take(number: int) -> bytes:
    """Read exactly so many bytes from standard input, and not one that follows."""
    data = b""
    while len(data) < number:
        read = os.read(0, number - len(data))
        if not read:
            raise SystemExit(1)
        data += read
    return data


def encrypt() -> None:
    """Read the keys, and encrypt what follows them until the end of standard input."""
    head = json.loads(take(int.from_bytes(take(_LENGTH_BYTES), "big")))
    sys.path.insert(0, head["folder"])
    import pysequoia

    certs = [pysequoia.Cert.from_bytes(base64.b64decode(key)) for key in head["recipients"]]
    signer = None
    if head["signer"]:
        signer = pysequoia.Tsk.from_bytes(base64.b64decode(head["signer"])).signer(head["passphrase"])
    pysequoia.encrypt_file("/dev/stdin", "/dev/stdout", certs, signer, armor=False)


if __name__ == "__main__":
    encrypt()
