"""Save, load, list and remove platforms, with what is known of their stores. Their files hold no secrets."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from mc_sink import _display
from mc_sink._runtime import state_dir
from mc_sink.exceptions import ConfigurationError
from mc_sink.platforms import secret_store
from mc_sink.platforms.platform import CREDENTIALS, Checked, Platform, check_name
from mc_sink.platforms.secret_store import Place, platforms_folder, prepare_platforms
from mc_sink.secret import Secret, seals_options
from mc_sink.storage import Stores
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mc_sink.object_options import ObjectOptions

WAYS_VERSION, WAYS_HOLD = 1, timedelta(days=30)
# The fields that a platform's file holds, and that may be exported.
PLAIN = tuple(one.name for one in fields(Platform) if one.name not in {*CREDENTIALS, "last_check"})


@dataclass(frozen=True, slots=True)
class KeptWays:
    """What was learnt of one bucket's store, and when; `version` numbers the names and values of `facts`."""

    endpoint: str
    bucket: str
    since: datetime
    facts: dict[str, Any]
    version: int = WAYS_VERSION

    @property
    def holds(self) -> bool:
        """Whether it is recent enough to rely on. Stores change with their software and configuration."""
        return self.version == WAYS_VERSION and datetime.now(UTC) - self.since < WAYS_HOLD


@dataclass(frozen=True, slots=True, eq=False)
class _Saved:
    """The content of a platform's file; `secrets` states where its secrets are stored."""

    platform: dict[str, str | tuple[str, ...] | None]
    secrets: Place | None
    masked_key_id: str | None = None
    last_check: Checked = field(default_factory=Checked)
    ways: tuple[KeptWays, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A saved platform as a list shows it, made without reading its secrets."""

    platform: Platform
    credentials: str
    secrets: Place | None

    def shown(self) -> dict[str, object]:
        """Return the labelled facts, in display order."""
        return self.platform.shown(self.credentials) | {"secrets": self.secrets or "none"}

    def _repr_html_(self) -> str:
        return _display.facts(self.shown().items())


def save(
    platform: Platform, *, if_exists: Literal["fail", "overwrite"] = "fail", store: Place | None = None
) -> Platform:
    """Save a platform under its name for every run on this machine, and return it as unverified.

    - `platform`: with its credentials, or without any for those of the environment.
    - `if_exists`: "overwrite" replaces a platform of this name.
    - `store`: where secrets go. "file" is a file that only its owner can read, which is used too where no keyring is
      installed; by default the keyring.

    Raises `ConfigurationError` for an invalid platform and, by default, for a name that exists. Then the platform that
    was saved before stays unchanged.
    """
    before = _to_replace(platform, if_exists=if_exists, store=store)
    held = {name: text for name in CREDENTIALS if isinstance(text := getattr(platform, name), Secret)}
    place = (store or secret_store.choose_place()) if held else None
    with _writing(platform.name):
        if place:
            secret_store.keep(platform.name, held, place)
        _write(_Saved(_plain(platform), place, platform.masked_key_id))
    if before and before.secrets and before.secrets != place:
        secret_store.forget(platform.name, before.secrets)
    return replace(platform, last_check=Checked())


def refuse_unsaved(
    platform: Platform, *, if_exists: Literal["fail", "overwrite"] = "fail", store: Place | None = None
) -> None:
    """Raise what `save` would raise, before a person is asked for a secret."""
    _to_replace(platform, if_exists=if_exists, store=store)


def _to_replace(platform: Platform, *, if_exists: Literal["fail", "overwrite"], store: Place | None) -> _Saved | None:
    """Return the platform that `save` would replace, or raise why it may not be saved."""
    before = _read(platform.checked().name)
    if before and if_exists != "overwrite":
        raise ConfigurationError(
            f'A platform {platform.name} exists already. Choose another name, or replace it with if_exists="overwrite".'
        )
    if store not in {None, "keyring", "file"}:
        raise ConfigurationError('store= is neither "keyring" nor "file". Nothing was saved.')
    return before


def load(name: str) -> Platform:
    """Return a saved platform with its secrets, or raise `ConfigurationError` that lists the saved names."""
    saved = _found(name)
    held = secret_store.fetch(name, saved.secrets) if saved.secrets else {}
    key: Any = {name: held[name] for name in CREDENTIALS if name in held}
    return replace(_platform(saved), **key).checked()


def list_platforms() -> _display.Listing[Listed]:
    """List the saved platforms by name, without reading a secret."""
    names = sorted(path.name.removesuffix(".json") for path in platforms_folder().glob("*.json"))
    return _display.Listing(describe(name) for name in names)


def describe(name: str) -> Listed:
    """Return a saved platform's facts without reading its secrets."""
    saved = _found(name)
    platform = _platform(saved)
    return Listed(platform, platform.credentials_with(saved.masked_key_id), saved.secrets)


def remove(name: str) -> None:
    """Remove a platform and its secrets from this machine. Its key stays valid at the store.

    Raises `ConfigurationError` for a name that is not saved.
    """
    saved = _found(name)
    if saved.secrets:
        secret_store.forget(name, saved.secrets)
    _path(name).unlink(missing_ok=True)


def exported(name: str) -> dict[str, Any]:
    """Return a platform without its secrets and its key id, ready for JSON."""
    plain = _plain(_platform(_found(name)))
    return {one: list(value) if isinstance(value, tuple) else value for one, value in plain.items() if value}


def record_check(platform: Platform, check: Checked) -> None:
    """Record the result of a check, unless the platform was removed or replaced meanwhile."""
    with suppress(ConfigurationError), _writing(platform.name):
        if load(platform.name) == platform:
            _write(replace(_found(platform.name), last_check=check))


def kept_ways(name: str) -> tuple[KeptWays, ...]:
    """Return what was learnt of a saved platform's stores; empty where its file can't be read."""
    try:
        saved = _read(name)
    except ConfigurationError:
        return ()
    return tuple(one for one in saved.ways if one.holds) if saved else ()


def keep_ways(name: str, learnt: KeptWays) -> None:
    """Record what was learnt of a bucket, and drop the records of other endpoints."""
    with suppress(ConfigurationError), _writing(name):
        saved = _found(name)
        others = [one for one in saved.ways if one.endpoint == learnt.endpoint and one.bucket != learnt.bucket]
        _write(replace(saved, ways=(*filter(lambda one: one.holds, others), learnt)))


def _plain(platform: Platform) -> dict[str, Any]:
    return {name: getattr(platform, name) for name in PLAIN}


def _platform(saved: _Saved) -> Platform:
    known: Any = {name: value for name, value in saved.platform.items() if name in PLAIN}
    return Platform(**known, last_check=saved.last_check)


def _found(name: str) -> _Saved:
    saved = _read(check_name(name))
    if saved is None:
        names = sorted(path.stem for path in platforms_folder().glob("*.json"))
        raise ConfigurationError(
            f"The platform {name} is not saved. Saved platforms: {', '.join(names) or 'none'}. Save it with "
            f'platforms.save(Platform(name="{name}", …)).'
        )
    return saved


def _read(name: str) -> _Saved | None:
    path = _path(name)
    try:
        saved: _Saved = _adapter().validate_json(state_dir.read_private(path)[0])
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        kind = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(
            f"Cannot read the platform {name} from {path} ({kind}). Remove the file and save the platform again."
        ) from error
    return saved if saved.platform.get("name") == name else None  # names may differ by case where files' don't


def _write(saved: _Saved) -> None:
    prepare_platforms()
    state_dir.write_private(_path(str(saved.platform["name"])), _adapter().dump_json(saved, indent=2))


def _path(name: str) -> Path:
    return platforms_folder() / f"{name}.json"


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"Cannot save the platform {name} in {platforms_folder()}: {error.strerror}. Free disk space, or name "
            "another folder in MC_SINK_STATE_DIR."
        ) from error


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_Saved)


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Stores what was learnt of stores with the platform `name`, as long as that platform is saved."""

    name: str

    def recall(self, endpoint: str, bucket: str) -> Mapping[str, bool | str]:
        """Return what was learnt of a bucket at this endpoint."""
        found = self._kept(endpoint, bucket)
        return found.facts if found else {}

    def since(self, endpoint: str, bucket: str) -> datetime | None:
        """Return when it was learnt, or None."""
        found = self._kept(endpoint, bucket)
        return found.since if found else None

    def keep(self, endpoint: str, bucket: str, facts: Mapping[str, bool | str]) -> None:
        """Record changed facts under their first time, so that they expire; new ones under the present time."""
        before = self._kept(endpoint, bucket)
        if before is None:
            keep_ways(self.name, KeptWays(endpoint, bucket, datetime.now(UTC), dict(facts)))
        elif before.facts != facts:
            keep_ways(self.name, replace(before, facts=dict(facts)))

    def renew(self, endpoint: str, bucket: str, facts: Mapping[str, bool | str]) -> None:
        """Record facts that were all learnt now."""
        keep_ways(self.name, KeptWays(endpoint, bucket, datetime.now(UTC), dict(facts)))

    def _kept(self, endpoint: str, bucket: str) -> KeptWays | None:
        found = (one for one in kept_ways(self.name) if (one.endpoint, one.bucket) == (endpoint, bucket))
        return next(found, None)


def memory_of(platform: str | Platform | None) -> Memory | None:
    """Return the memory of a platform that was passed by its name; others have none."""
    return Memory(platform) if isinstance(platform, str) else None


@seals_options
def stores_for(
    target: str,
    platform: str | Platform | None,
    storage_options: Mapping[str, Any] | None,
    object_options: ObjectOptions | None = None,
) -> Stores:
    """Return the stores of a target, unopened; raises `ConfigurationError` where the platform doesn't allow it."""
    if platform is None:
        return Stores(storage_options, object_options)
    given: Any = platform  # what the types promise is checked here
    if not isinstance(given, str | Platform):
        raise ConfigurationError(
            f"Cannot use platform= with a {type(given).__name__}. Give a saved name or a Platform."
        )
    chosen = load(platform) if isinstance(platform, str) else platform
    options = chosen.storage_options_for(parse_target(target), storage_options)
    return Stores(options, object_options, memory_of(platform))
