"""Keyrings that fail, each in its own way: nothing is reported as saved that isn't, and the error has advice."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from keyring.backends import null

from mc_sink import ConfigurationError, platforms
from mc_sink.platforms import Checked, saved
from tests.platforms.test_platforms import a_platform
from tests.support.keyrings import MemoryKeyring, installed

if TYPE_CHECKING:
    from pathlib import Path


class NoKeyring(MemoryKeyring):
    """Fails in a way of its own, with what it was given in its words."""

    def get_password(self, service: str, username: str) -> str | None:
        """Fail as a bus does that isn't there."""
        raise ConnectionError(f"{service} {username}")

    def delete_password(self, service: str, username: str) -> None:
        """Fail too."""
        raise ConnectionError(f"{service} {username}")


def test_a_keyring_that_keeps_nothing_is_told() -> None:
    """One that takes a secret and forgets it, because it is switched off, has saved nothing."""
    with (
        installed(null.Keyring()),  # type: ignore[no-untyped-call]
        pytest.raises(ConfigurationError, match=r"Cannot save the secrets .* doesn't return"),
    ):
        platforms.save(a_platform(), store="keyring")
    assert platforms.list() == []


def test_a_keyring_may_fail_in_any_way() -> None:
    """A backend's own errors become a `ConfigurationError` with advice."""
    platforms.save(a_platform(), store="file")
    with installed(NoKeyring()):
        with pytest.raises(ConfigurationError, match="Cannot save the secrets"):
            platforms.save(a_platform("other"))
        saved._write(saved._Saved(saved._plain(a_platform()), "keyring"))  # noqa: SLF001  as it was before it failed
        with pytest.raises(ConfigurationError, match="Cannot read the secrets of platform acme from the keyring"):
            platforms.load("acme")
        with pytest.raises(ConfigurationError, match="they are still in it"):
            platforms.remove("acme")


def test_a_keyring_that_can_not_be_loaded_is_told(state: Path) -> None:
    """A backend that was configured and isn't installed is named as the cause, and a file is offered."""
    code = "from mc_sink import platforms as p\np.save(p.Platform(name='a', access_key_id='AK', secret_access_key='s'))"
    env = os.environ | {"PYTHON_KEYRING_BACKEND": "no.such.Backend"}
    output = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "ConfigurationError: Cannot load the configured keyring (ModuleNotFoundError)" in output.stderr
    assert not list(state.rglob("*.json"))


def test_a_finding_is_noted_only_with_what_was_checked() -> None:
    """A platform that was replaced while it was checked has other credentials, and stays unverified."""
    with installed(MemoryKeyring()):
        note_and_replace()


def note_and_replace() -> None:
    """Note a finding, replace the platform, and note the same finding again."""
    checked = platforms.save(a_platform())
    saved.record_check(checked, Checked("Configured", "It was."))
    assert platforms.load("acme").last_check.status == "Configured"
    platforms.save(a_platform(secret_access_key="another"), if_exists="overwrite")
    saved.record_check(checked, Checked("Configured", "It was."))
    assert platforms.load("acme").last_check.status == "Unverified"
