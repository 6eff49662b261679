"""Keep secrets in the operating system's keyring or, without one, in a file that only its owner can read.

A file is made with mode 0600 under another name and then renamed, in a folder with mode 0700, so there is no moment
at which others could have opened it. One that others can read is refused, because its secrets are known by then.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from mc_sink._runtime import state_dir
from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

Place = Literal["keyring", "file"]
SERVICE = "mc-sink"
_FOLDER = "platforms"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def platforms_folder() -> Path:
    """Return the folder of platforms, which need not exist."""
    return state_dir.state_folder() / _FOLDER


def prepare_platforms() -> Path:
    """Return the folder, which exists now, for its owner alone."""
    place = state_dir.prepare_folder(_FOLDER)
    place.chmod(0o700)
    return place


def choose_place() -> Place:
    """Say where new secrets go: to the keyring, if there is one that keeps what it is given."""
    import keyring
    from keyring.backends import fail, null

    try:
        found = keyring.get_keyring()
    except Exception as error:  # noqa: BLE001  it loads whatever was configured
        kind = type(error).__name__
    else:
        return "file" if isinstance(found, fail.Keyring | null.Keyring) else "keyring"
    raise ConfigurationError(
        f"The keyring that was configured can't be loaded ({kind}). Correct PYTHON_KEYRING_BACKEND or keyringrc.cfg, "
        "or save with store='file' (--store file): a file that only you can read. Nothing was saved."
    )


def keep(name: str, held: dict[str, Secret], place: Place) -> None:
    """Keep a platform's secrets, in place of those that were kept before, or raise `ConfigurationError`."""
    if place == "file":
        prepare_platforms()
        state_dir.write_private(_path(name), lambda: str(_Text(held)).encode())
        return
    import keyring

    try:
        keyring.set_password(SERVICE, name, str(_Text(held)))
        if keyring.get_password(SERVICE, name) == str(_Text(held)):
            return
        kind = "it doesn't keep what it is given"
    except Exception as error:  # noqa: BLE001  each backend has its own, and their frames hold the secrets
        kind = type(error).__name__
    raise ConfigurationError(
        f"1 platform, {name}, was not saved: the keyring refuses ({kind}). Unlock it, or save with store='file' "
        "(--store file): a file that only you can read."
    )


def fetch(name: str, place: Place) -> dict[str, Secret]:
    """Give a platform's secrets, or raise `ConfigurationError` that says how to give them anew."""
    try:
        text = _from_file(_path(name)) if place == "file" else _from_keyring(name)
        if text is not None:
            return {str(one): Secret(str(value)) for one, value in json.loads(text.reveal()).items()}
        kind = "nothing is there"
    except (ValueError, AttributeError, OSError) as error:
        if isinstance(error, ConfigurationError):
            raise
        kind = type(error).__name__
    raise ConfigurationError(
        f"The secrets of the platform {name} can't be read from the {place} ({kind}). Save it again: mc-sink platforms "
        f"add {name} --replace."
    )


def forget(name: str, place: Place) -> None:
    """Remove a platform's secrets; there need be none."""
    if place == "file":
        _path(name).unlink(missing_ok=True)
        return
    import keyring
    from keyring.errors import PasswordDeleteError

    try:
        with suppress(PasswordDeleteError):
            keyring.delete_password(SERVICE, name)
    except Exception as error:  # noqa: BLE001  each backend has its own
        kind = type(error).__name__
        raise ConfigurationError(
            f"The secrets of the platform {name} are still in the keyring, which refuses ({kind}). Unlock it, and "
            "remove the platform again."
        ) from None


class _Text:
    """Secrets as JSON, made only where `str` is asked for, so that no frame of ours has the text."""

    def __init__(self, held: dict[str, Secret]) -> None:
        self._held = held

    def __str__(self) -> str:
        return json.dumps({name: secret.reveal() for name, secret in self._held.items()})


def _path(name: str) -> Path:
    return platforms_folder() / f"{name}.secrets"


def _from_keyring(name: str) -> Secret | None:
    import keyring

    try:
        found = keyring.get_password(SERVICE, name)
    except Exception as error:  # noqa: BLE001  each backend has its own, and what hangs on it is let go
        kind = type(error).__name__
    else:
        return None if found is None else Secret(found)
    raise ConfigurationError(f"The keyring doesn't give the secrets of the platform {name} ({kind}). Unlock it.")


def _from_file(path: Path) -> Secret | None:
    """Read a file that is its owner's alone, judged by what was opened and not by its name."""
    try:
        descriptor = state_dir.open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with open(descriptor, encoding="utf-8") as opened:  # noqa: PTH123  a descriptor is not a path
        _refuse_others(path.parent, path.parent.stat(), "700")
        _refuse_others(path, os.fstat(descriptor), "600")
        return Secret(opened.read())


def _refuse_others(path: Path, found: os.stat_result, mode: str) -> None:
    if found.st_mode & _OTHERS or found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):o}, user {found.st_uid}), and so its secrets "
            f"may be known: have new ones made and save them. To use them all the same: chmod {mode} {path}"
        )
