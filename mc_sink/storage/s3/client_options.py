"""Validate `storage_options` for S3 and find the endpoint, before anything is sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mc_sink._hints import STORAGE, hint
from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Sealed, Secret, has_control, seal, shown
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3.checksums import ALGORITHMS, can_sum
from mc_sink.storage.s3.endpoint import find_endpoint, find_region
from mc_sink.storage.s3.http import OneHost, http_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiobotocore.session import AioSession
    from botocore.loaders import Loader

    from mc_sink.staged import Sums
    from mc_sink.storage.s3.endpoint import Endpoint

# Timeouts end a request to a store that doesn't answer. Only `client.py` retries.
DEFAULT_CONFIG = {"connect_timeout": 10, "read_timeout": 60, "max_pool_connections": 64}
NO_RETRIES = {"total_max_attempts": 1, "mode": "standard"}
PROFILE = "profile"
# botocore's name of what an application calls itself in its requests.
APP_ID = "user_agent_appid"
_NOT_FOR_CALLERS = {
    "self",
    "kwargs",
    "asynchronous",
    "loop",
    "fixed_upload_size",
    "default_fill_cache",
    "default_cache_type",
    "version_aware",
}
OWNER = "expected_bucket_owner"
# Options that mc_sink reads and s3fs doesn't know.
ALGORITHM, EQUAL_PARTS = "checksum_algorithm", "equal_parts"
_NOT_S3FS = {"default_block_size", "max_concurrency", PROFILE, OWNER, ALGORITHM, EQUAL_PARTS}
_ACCOUNT = re.compile(r"[0-9]{12}")
_FORMS: dict[str, tuple[type, str]] = {
    "endpoint_url": (Secret, "text"),
    PROFILE: (Secret, "text"),
    OWNER: (Secret, "text: the 12 digits of an account, in quotes"),
    ALGORITHM: (Secret, "text"),
    EQUAL_PARTS: (bool, "True or False"),
    "client_kwargs": (Mapping, "a dict"),
    "config_kwargs": (Mapping, "a dict"),
    "default_block_size": (int, "a whole number"),
    "max_concurrency": (int, "a whole number"),
}
_REFUSED = {
    "s3_additional_kwargs": "drops names it doesn't know. Use object_options=ObjectOptions(acl=…, sse=…, …), which "
    "checks them.",
    "cache_regions": "asks for a bucket's region with HeadBucket, which needs a further permission. Pass "
    "client_kwargs={'region_name': …}.",
}
# Options that contain or choose credentials. Such credentials can't be renewed, unlike those that are looked up.
_GIVEN = ("key", "secret", "token", "username", "password", "anon", "session")
_IN_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_CALCULATION, _WHEN = "request_checksum_calculation", ("when_supported", "when_required")
# Values that s3fs and botocore name differently.
_SAME = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}


def filesystem_arguments(storage_options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of `S3FileSystem` in a mapping that shows only their names; sends nothing.

    Raises `ConfigurationError` for a name that s3fs would ignore, a value of a wrong type, and an endpoint with plain
    http without `use_ssl=False`.
    """
    storage_options = seal(storage_options)
    check_options(storage_options)
    options = with_defaults(storage_options)
    with silence():
        check_environment(options)
        session = options.get("session") or new_session(options.get(PROFILE))
        endpoint = find_endpoint(options, session)
        region = find_region(options, session)
        config = _config(options.get("config_kwargs") or {}, endpoint, session)
    fixed: dict[str, Any] = {
        "endpoint_url": endpoint.url,
        "cache_regions": False,
        "session": OneHost(session),
        "config_kwargs": config,
    }
    if region:
        fixed["client_kwargs"] = dict(options.get("client_kwargs") or {}) | {"region_name": region}
    return seal({n: value for n, value in options.items() if n not in _NOT_S3FS} | fixed).reveal()


def owner_parameter(storage_options: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameter of every request that names the owner of the bucket, if the caller set it."""
    owner = with_defaults(seal(storage_options)).get(OWNER)
    return {"ExpectedBucketOwner": owner.reveal()} if isinstance(owner, Secret) else {}


def check_options(options: Sealed) -> None:
    """Raise `ConfigurationError` for a name that s3fs or botocore doesn't know, or a value that can't be right."""
    from inspect import signature

    import s3fs
    from aiobotocore.config import AioConfig
    from botocore.session import Session

    options.checked()
    for name, reason in _REFUSED.items():
        if options.get(name):
            raise ConfigurationError(f"storage_options[{name!r}] {reason}")
    of_s3fs = set(signature(s3fs.S3FileSystem.__init__).parameters) - _NOT_FOR_CALLERS
    check_names(options, of_s3fs | {PROFILE, OWNER, ALGORITHM, EQUAL_PARTS}, "s3fs")
    _check_forms(options)
    check_owner(options.get(OWNER), "expected_bucket_owner in storage_options")
    _asked_sums(options)
    config = options.get("config_kwargs") or {}
    of_config = {*AioConfig.OPTION_DEFAULTS, "connector_args", "http_session_cls", "warm_up_loader_caches"}
    check_names(config, of_config, "botocore", place="config_kwargs")
    _check_section(config.get("s3"))
    client = options.get("client_kwargs") or {}
    known = set(signature(Session.create_client).parameters) - {"self", "service_name", "config"}
    check_names(client, known, "botocore", place="client_kwargs")
    _check_forms(client)
    for name, in_botocore in _SAME.items():
        if options.get(name) and client.get(in_botocore) and options[name] != client[in_botocore]:
            raise ConfigurationError(
                f"storage_options has 2 values for {name}: {name} itself, and client_kwargs[{in_botocore!r}]. Remove "
                "one of them."
            )


def are_found(options: Sealed) -> bool:
    """Return True if botocore looks credentials up, in the environment or a profile, because none were passed."""
    client = options.get("client_kwargs") or {}
    return not any(options.get(name) for name in _GIVEN) and not any(name.startswith("aws_") for name in client)


def check_environment(options: Sealed) -> None:
    """Raise `ConfigurationError` for credentials of the environment that can't be sent; a profile's take precedence."""
    if not are_found(options) or options.get(PROFILE):
        return
    for name in _IN_ENVIRONMENT:
        if has_control(Secret(os.environ.get(name, ""))):
            raise ConfigurationError(
                f"{name} in the environment contains a line break or another control character. Remove it."
            )


def allowed_sums(storage_options: Sealed, arguments: Mapping[str, Any]) -> tuple[Sums, ...]:
    """Return the checksums that bodies may carry, the best first: those of `checksum_algorithm`, or all.

    `checksum_algorithm` takes precedence over `request_checksum_calculation`, as in botocore.
    """
    if asked := _asked_sums(storage_options):
        return asked
    if arguments["config_kwargs"][_CALCULATION] != _WHEN[0]:
        return ("none",)
    known: list[Sums] = [one for sums in ALGORITHMS.values() for one in sums]
    return (*filter(can_sum, known), "none")


def _asked_sums(options: Sealed) -> tuple[Sums, ...]:
    """Return the checksums of `checksum_algorithm`, if it is set; raise if they can't be computed here."""
    asked = options.get(ALGORITHM)
    if asked is None:
        return ()
    name = (asked.reveal() if isinstance(asked, Secret) else asked).upper().replace("-", "")
    if name not in ALGORITHMS:
        raise ConfigurationError(
            f"{ALGORITHM} in storage_options is not an algorithm of S3. Use one of {', '.join(ALGORITHMS)}."
        )
    if not all(map(can_sum, ALGORITHMS[name])):
        raise ConfigurationError(
            f"{ALGORITHM}={name!r} needs the library awscrt. Run pip install 'mc-sink[crc64nvme]'."
        )
    return ALGORITHMS[name]


def check_names(
    options: Mapping[str, Any], known: Iterable[str], owner: str, *, place: str = "storage_options"
) -> None:
    """Raise `ConfigurationError` for a name that `owner` doesn't know, with the nearest name that it knows."""
    names = sorted(known)
    for name in options:
        if name not in names:
            advice = hint(name, STORAGE, names) or f" It knows {', '.join(names)}."
            raise ConfigurationError(f"{place} has {shown(name)!r}, which {owner} doesn't know.{advice}")


def check_owner(owner: Secret | str | None, place: str) -> None:
    """Raise `ConfigurationError` for an account that isn't 12 digits, without repeating it."""
    text = owner.reveal() if isinstance(owner, Secret) else owner
    if text is not None and not _ACCOUNT.fullmatch(text):
        raise ConfigurationError(f"{place} is not the number of an AWS account. Write its 12 digits, as text.")


def _check_section(section: object) -> None:
    """Raise for names in botocore's section `s3` that it would ignore, and for values of a wrong type."""
    from botocore.configprovider import DEFAULT_S3_CONFIG_VARS

    if not isinstance(section, Mapping | None):
        raise ConfigurationError(f"config_kwargs['s3'] must be a dict, not {type(section).__name__}.")
    check_names(section or {}, DEFAULT_S3_CONFIG_VARS, "botocore", place="config_kwargs['s3']")
    for name, value in (section or {}).items():
        if DEFAULT_S3_CONFIG_VARS[name][3] is not None and not isinstance(value, bool | None):
            raise ConfigurationError(
                f"config_kwargs['s3'][{name!r}] must be True or False, not {type(value).__name__}."
            )


def _check_forms(options: Mapping[str, Any]) -> None:
    wrong = [
        f"{name} in storage_options must be {label}, not {type(options.get(name)).__name__}."
        for name, (form, label) in _FORMS.items()
        if not isinstance(options.get(name), form | None)
    ]
    if wrong:
        raise ConfigurationError(wrong[0])


def with_defaults(options: Sealed) -> Sealed:
    """Add the options that fsspec's own configuration would add later, behind all checks."""
    import s3fs
    from fsspec.config import apply_config

    return seal(apply_config(s3fs.S3FileSystem, dict(options))).checked()


def _config(given: Mapping[str, Any], endpoint: Endpoint, session: AioSession) -> dict[str, Any]:
    """Return botocore's configuration: the caller's, except for the settings that a delivery depends on.

    botocore adds the s3 section of the profile. The settings passed here take precedence over it.
    """
    profile = session.get_config_variable("s3") or {}
    signed = profile.get("payload_signing_enabled", not endpoint.private or bool(given.get("proxies")))
    signing = {"payload_signing_enabled": signed} | dict(given.get("s3") or {})
    fixed = {
        "retries": NO_RETRIES,
        "http_session_cls": http_session(),
        "s3": signing,
        _CALCULATION: _calculation(given, session),
        "ignore_configured_endpoint_urls": True,  # `find_endpoint` has looked them up
    }
    if not (given.get("user_agent") or given.get(APP_ID) or session.get_config_variable(APP_ID)):
        # botocore builds its own name twice for every request. Measured: 18 % of a request's processor time.
        fixed["user_agent"] = f"mc-sink/{version('mc-sink')} Botocore/{version('botocore')}"
    # Or a proxy of the environment would receive, in plain, a request that must not leave this machine.
    unproxied: dict[str, Any] = {"proxies": {}} if endpoint.loopback else {}
    return DEFAULT_CONFIG | unproxied | dict(given) | fixed


def may_sign(options: Sealed, session: OneHost) -> bool:
    """Return False if the caller, or else the s3 section of the session's profile, forbids to sign bodies."""
    asked = (with_defaults(options).get("config_kwargs") or {}).get("s3") or {}
    with silence():
        profile = session.get_config_variable("s3") or {}
    setting = asked.get("payload_signing_enabled", profile.get("payload_signing_enabled"))
    return str(setting).lower() != "false"


def _calculation(given: Mapping[str, Any], session: AioSession) -> str:
    """Return when bodies carry a checksum: by the options, the environment, or the AWS configuration."""
    found = given.get(_CALCULATION)
    if found is None:
        with suppress(Exception):  # a configuration that can't be read fails where credentials are looked up in it
            found = session.get_config_variable(_CALCULATION)
    asked = str(found.reveal() if isinstance(found, Secret) else found or _WHEN[0]).lower()
    if asked not in _WHEN:
        raise ConfigurationError(
            f"{_CALCULATION} has a value that botocore doesn't know, in config_kwargs, in "
            f"AWS_REQUEST_CHECKSUM_CALCULATION or in the AWS configuration. Use {' or '.join(_WHEN)}."
        )
    return asked


def new_session(profile: Secret | None) -> AioSession:
    """Make a session with its own credentials. Sessions share only botocore's descriptions of services."""
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile.reveal() if profile else None)
    session.register_component("data_loader", _descriptions())
    return session


@cache
def _descriptions() -> Loader:
    """Read botocore's descriptions of services once; they are read-only files, so nothing of a delivery is kept here.

    botocore's own reader looks into the folders of all its 400 services, and makes an `OrderedDict` of every JSON
    object. Measured: it took half of the processor time of a process' first client.
    """
    import gzip
    import json

    from botocore.loaders import JSONFileLoader, Loader

    class Files(JSONFileLoader):  # type: ignore[misc]
        def load_file(self, file_path: str) -> Any:
            for ending, opener in ((".json", open), (".json.gz", gzip.open)):
                with suppress(FileNotFoundError), opener(file_path + ending, "rb") as file:
                    return json.load(file)
            return None

    class Services(Loader):  # type: ignore[misc]
        def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002  its folder shows that later
            folders = filter(os.path.isdir, self.search_paths)
            return sorted({name for folder in folders for name in os.listdir(folder)})  # noqa: PTH208  only names

    return Services(file_loader=Files())
