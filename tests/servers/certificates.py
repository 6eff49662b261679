"""A certificate authority of the tests' own, for servers on loopback that speak https."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a server's certificate for 127.0.0.1 and localhost, in PEM.

    `chain` holds the server's private key and certificate; `authority` is the certificate that a client trusts.
    """

    chain: Path
    authority: Path


def issue_certificate(folder: Path) -> Certificate:
    """Make an authority and a server certificate that it signs, and write the files into a folder."""
    authority = trustme.CA()
    files = Certificate(folder / "server.pem", folder / "authority.pem")
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(files.chain)
    authority.cert_pem.write_to_path(files.authority)
    return files


def server_context(chain: Path) -> ssl.SSLContext:
    """Return what a server needs to speak https with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context
