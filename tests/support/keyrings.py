"""Keyrings for tests: one in memory, one that is locked, and one that reports that none exists."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import keyring
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyring.errors import KeyringLocked, PasswordDeleteError

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryKeyring(KeyringBackend):
    """Keeps what it is given as long as it lives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        """Return what is kept."""
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep it."""
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Remove a password."""
        if self.held.pop((service, username), None) is None:
            raise PasswordDeleteError(username)


class LockedKeyring(MemoryKeyring):
    """Refuses, with what it was given in its frames and its words, as a careless backend would."""

    def get_password(self, service: str, username: str) -> str | None:
        """Refuse."""
        raise KeyringLocked(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        """Refuse."""
        raise KeyringLocked(f"{service} {username} {password}")


@contextlib.contextmanager
def installed(backend: KeyringBackend | None = None) -> Iterator[KeyringBackend]:
    """Install a keyring for the length of a `with`; by default, one that holds nothing."""
    before, now = keyring.get_keyring(), backend or fail.Keyring()  # type: ignore[no-untyped-call]
    keyring.set_keyring(now)
    try:
        yield now
    finally:
        keyring.set_keyring(before)
