"""Store secrets in the operating system's keyring or, without one, in a file that only its owner can read.

A file is written with mode 0600 under another name and then renamed, in a folder with mode 0700, so other users can
open it at no moment. A file that others can read is refused, because its secrets may be known.

The library `keyring` comes with `mc-sink[cli]`. Where it is not installed, secrets go to the file.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from mc_sink._runtime import state_dir
from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

Place = Literal["keyring", "file"]
SERVICE = "mc-sink"
_FOLDER = "platforms"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_TO_A_FILE = 'save with store="file": a file that only you can read'


def platforms_folder() -> Path:
    """Return the folder of platforms, which need not exist."""
    return state_dir.state_folder() / _FOLDER


def prepare_platforms() -> Path:
    """Create the folder of platforms where it is missing, for its owner alone, and return it."""
    place = state_dir.prepare_folder(_FOLDER)
    place.chmod(0o700)
    return place


def choose_place() -> Place:
    """Return where new secrets go: the keyring, where one is installed that stores what it is given."""
    try:
        import keyring
        from keyring.backends import fail, null
    except ModuleNotFoundError:
        return "file"
    try:
        backend = keyring.get_keyring()
    except Exception as error:  # noqa: BLE001  it loads any configured backend
        kind = type(error).__name__
    else:
        return "file" if isinstance(backend, fail.Keyring | null.Keyring) else "keyring"
    raise ConfigurationError(
        f"Cannot load the configured keyring ({kind}). Correct PYTHON_KEYRING_BACKEND or keyringrc.cfg, or "
        f"{_TO_A_FILE}. Nothing was saved."
    )


def keep(name: str, held: dict[str, Secret], place: Place) -> None:
    """Store a platform's secrets in place of its former ones, or raise `ConfigurationError`."""
    if place == "file":
        prepare_platforms()
        state_dir.write_private(_path(name), lambda: str(_Text(held)).encode())
        return
    keyring = _keyring(name)
    try:
        keyring.set_password(SERVICE, name, str(_Text(held)))
        if keyring.get_password(SERVICE, name) == str(_Text(held)):
            return
        kind = "it doesn't return what it was given"
    except Exception as error:  # noqa: BLE001  each backend has its own errors, and their frames hold the secrets
        kind = type(error).__name__
    raise ConfigurationError(
        f"Cannot save the secrets of platform {name}: the keyring refused them ({kind}). Unlock it, or {_TO_A_FILE}."
    )


def fetch(name: str, place: Place) -> dict[str, Secret]:
    """Return a platform's secrets, or raise `ConfigurationError` that says how to save them again."""
    try:
        text = _from_file(_path(name)) if place == "file" else _from_keyring(name)
        if text is not None:
            return {str(part): Secret(str(value)) for part, value in json.loads(text.reveal()).items()}
        kind = "it has none"
    except (ValueError, AttributeError, OSError) as error:
        if isinstance(error, ConfigurationError):
            raise
        kind = type(error).__name__
    raise ConfigurationError(
        f"Cannot read the secrets of platform {name} from the {place} ({kind}). Save them again with "
        f'platforms.save(Platform(name="{name}", …), if_exists="overwrite").'
    )


def forget(name: str, place: Place) -> None:
    """Remove a platform's secrets, where it has any."""
    if place == "file":
        _path(name).unlink(missing_ok=True)
        return
    keyring = _keyring(name)
    from keyring.errors import PasswordDeleteError

    try:
        with suppress(PasswordDeleteError):
            keyring.delete_password(SERVICE, name)
    except Exception as error:  # noqa: BLE001  each backend has its own errors
        kind = type(error).__name__
        raise ConfigurationError(
            f"Cannot remove the secrets of platform {name}: the keyring refused ({kind}), and they are still in it. "
            "Unlock it, and remove the platform again."
        ) from None


class _Text:
    """Secrets as JSON. The text exists only while `str` is called, so that no frame of this package holds it."""

    def __init__(self, held: dict[str, Secret]) -> None:
        self._held = held

    def __str__(self) -> str:
        return json.dumps({name: secret.reveal() for name, secret in self._held.items()})


def _path(name: str) -> Path:
    return platforms_folder() / f"{name}.secrets"


def _keyring(name: str) -> Any:
    """Import the library of the keyring, or raise `ConfigurationError` that says how to do without it."""
    try:
        import keyring
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The secrets of platform {name} belong in the keyring, and the library keyring is not installed. Install "
            f"it (pip install 'mc-sink[cli]'), or {_TO_A_FILE}, or leave platform= out and use the environment's "
            "credentials."
        ) from error
    return keyring


def _from_keyring(name: str) -> Secret | None:
    keyring = _keyring(name)
    try:
        text = keyring.get_password(SERVICE, name)
    except Exception as error:  # noqa: BLE001  each backend has its own errors, whose frames may hold secrets
        kind = type(error).__name__
    else:
        return None if text is None else Secret(text)
    raise ConfigurationError(f"Cannot read the secrets of platform {name} from the keyring ({kind}). Unlock it.")


def _from_file(path: Path) -> Secret | None:
    """Read a file that only its owner can open; its mode is checked on the open file, not on the path."""
    try:
        descriptor = state_dir.open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with open(descriptor, encoding="utf-8") as opened:  # noqa: PTH123  a descriptor is not a path
        _refuse_others(path.parent, path.parent.stat(), "700")
        _refuse_others(path, os.fstat(descriptor), "600")
        return Secret(opened.read())


def _refuse_others(path: Path, stats: os.stat_result, mode: str) -> None:
    if stats.st_mode & _OTHERS or stats.st_uid != os.geteuid():
        raise ConfigurationError(
            f"Other users can read {path} (mode {stat.S_IMODE(stats.st_mode):o}, owner {stats.st_uid}), so its secrets "
            f"may be known. Create new credentials and save them. To use these anyway: chmod {mode} {path}"
        )
