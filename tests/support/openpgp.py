"""GnuPG as the receiver: keys of its own making, and files that it decrypts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

LONG_AGO = "20200101T000000"


class GnuPG:
    """A keyring of GnuPG in a folder of its own, whose path is short enough for the socket of its agent."""

    def __init__(self) -> None:
        self.home = Path(mkdtemp(prefix="gpg-"))
        (self.home / "gpg-agent.conf").write_text("s2k-count 65536\n", "utf-8")  # or each passphrase takes a second

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)  # noqa: S607
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *words: str, passphrase: str = "") -> bytes:
        """Run gpg, and return its output; raises for its errors."""
        line = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]
        done = subprocess.run([*line, "--passphrase", passphrase, *words], check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
        return done.stdout

    def make(self, name: str, *, expires: str = "0", at: str | None = None, passphrase: str = "") -> str:
        """Make a key with a subkey for encryption, and return its fingerprint."""
        when = ["--faked-system-time", at] if at else []
        self.run(*when, "--quick-gen-key", name, "ed25519", "cert,sign", expires, passphrase=passphrase)
        self.add_subkey(name, expires=expires, at=at, passphrase=passphrase)
        return self.fingerprint(name)

    def add_subkey(self, name: str, *, expires: str = "0", at: str | None = None, passphrase: str = "") -> None:
        """Add a subkey for encryption to a key."""
        when = ["--faked-system-time", at] if at else []
        self.run(*when, "--quick-add-key", self.fingerprint(name), "cv25519", "encr", expires, passphrase=passphrase)

    def fingerprint(self, name: str) -> str:
        """Return the fingerprint of a key."""
        return self.records(name, "fpr")[0][9]

    def records(self, name: str, kind: str) -> list[list[str]]:
        """Return the fields of gpg's listing of a key, of the lines of one kind."""
        lines = self.run("--with-colons", "--list-keys", name).decode().splitlines()
        return [line.split(":") for line in lines if line.startswith(f"{kind}:")]

    def public(self, name: str) -> bytes:
        """Return the public key."""
        return self.run("--export", name)

    def secret(self, name: str, passphrase: str = "") -> bytes:
        """Return the secret key."""
        return self.run("--export-secret-keys", name, passphrase=passphrase)

    def revoke(self, name: str) -> None:
        """Mark a key as revoked, by the certificate that gpg made with it."""
        made = next((self.home / "openpgp-revocs.d").glob(f"{self.fingerprint(name)}.rev"))
        made.write_text(made.read_text("utf-8").replace(":-----BEGIN", "-----BEGIN"), "utf-8")
        self.run("--import", str(made))

    def decrypt(self, path: Path | str) -> tuple[bytes, str | None]:
        """Return the clear bytes of a file, and the fingerprint of the primary key that validly signed it."""
        status = self.home / "status"
        clear = self.run("--status-file", str(status), "--decrypt", str(path))
        said = status.read_text("utf-8", "replace")
        assert "GOODMDC" in said or "GOODSIG" in said, said
        signed = re.search(r"VALIDSIG .* (\w+)$", said, re.MULTILINE)
        return clear, signed.group(1) if signed else None

    def recipients(self, path: Path | str) -> set[str]:
        """Return the ids of the keys that a file is encrypted for."""
        packets = self.run("--list-packets", str(path)).decode("utf-8", "replace")
        return set(re.findall(r"pubkey enc packet: .*keyid (\w+)", packets))
