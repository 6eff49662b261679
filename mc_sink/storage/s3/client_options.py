"""Validate `storage_options` for S3 and find the endpoint, before anything is sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Sealed, Secret, has_control, seal, shown
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3.endpoint import find_endpoint, find_region
from mc_sink.storage.s3.http import OneHost, http_session
from mc_sink.storage.s3.sums import ALGORITHMS, can_sum

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiobotocore.session import AioSession
    from botocore.loaders import Loader

    from mc_sink.staged import Sums
    from mc_sink.storage.s3.endpoint import Endpoint

# Timeouts end a request to a store that doesn't answer; one layer retries, and it is ours.
DEFAULT_CONFIG = {"connect_timeout": 10, "read_timeout": 60, "max_pool_connections": 32}
NO_RETRIES = {"total_max_attempts": 1, "mode": "standard"}
PROFILE = "profile"
_OURS = {
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
# What is ours to read, and s3fs would not know.
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
    "s3_additional_kwargs": "drops names it doesn't know; use object_options=ObjectOptions(acl=…, sse=…, …), which "
    "checks them.",
    "cache_regions": "asks for a bucket's region with HeadBucket, which needs a further permission; pass "
    "client_kwargs={'region_name': …}.",
}
# Options that say with which credentials to sign: those can't be had anew, unlike the ones that are looked up.
_GIVEN = ("key", "secret", "token", "username", "password", "anon", "session")
_IN_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_CALCULATION, _WHEN = "request_checksum_calculation", ("when_supported", "when_required")
# What s3fs and botocore each have a name for.
_SAME = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}


def filesystem_arguments(storage_options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the arguments of `S3FileSystem` in a mapping that shows only their names.

    Raises `ConfigurationError` for a name that s3fs would ignore, a value of another form than it takes, and an
    endpoint that would be reached in plain http without `use_ssl=False`; sends nothing.
    """
    storage_options = seal(storage_options)
    check_options(storage_options)
    options = _with_defaults(storage_options)
    with silence():
        check_environment(options)
        session = options.get("session") or new_session(options.get(PROFILE))
        endpoint = find_endpoint(options, session)
        region = find_region(options, session)
        config = _config(options.get("config_kwargs") or {}, endpoint, session)
    ours: dict[str, Any] = {
        "endpoint_url": endpoint.url,
        "cache_regions": False,
        "session": OneHost(session),
        "config_kwargs": config,
    }
    if region:
        ours["client_kwargs"] = dict(options.get("client_kwargs") or {}) | {"region_name": region}
    return seal({n: value for n, value in options.items() if n not in _NOT_S3FS} | ours).reveal()


def owner_parameter(storage_options: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameter by which every request names the account that the bucket should belong to, if one is."""
    owner = _with_defaults(seal(storage_options)).get(OWNER)
    return {"ExpectedBucketOwner": owner.reveal()} if isinstance(owner, Secret) else {}


def check_options(options: Sealed) -> None:
    """Raise `ConfigurationError` for a name that s3fs or botocore doesn't know, or a value that can't be meant."""
    from inspect import signature

    import s3fs
    from botocore.session import Session

    options.checked()
    for name, reason in _REFUSED.items():
        if options.get(name):
            raise ConfigurationError(f"storage_options[{name!r}] {reason}")
    of_s3fs = set(signature(s3fs.S3FileSystem.__init__).parameters) - _OURS
    check_names(options, of_s3fs | {PROFILE, OWNER, ALGORITHM, EQUAL_PARTS}, "s3fs")
    _check_forms(options)
    check_owner(options.get(OWNER), "expected_bucket_owner in storage_options")
    _asked_sums(options)
    _check_config(options.get("config_kwargs") or {})
    client = options.get("client_kwargs") or {}
    known = set(signature(Session.create_client).parameters) - {"self", "service_name", "config"}
    check_names(client, known, "botocore", place="client_kwargs")
    _check_forms(client)
    for name, theirs in _SAME.items():
        if options.get(name) and client.get(theirs) and options[name] != client[theirs]:
            raise ConfigurationError(f"storage_options has 2 values for {name}, one in client_kwargs: leave one out.")


def are_found(options: Sealed) -> bool:
    """Whether credentials are looked up, in the environment, a profile or wherever botocore looks, and not given."""
    client = options.get("client_kwargs") or {}
    return not any(options.get(name) for name in _GIVEN) and not any(name.startswith("aws_") for name in client)


def check_environment(options: Sealed) -> None:
    """Raise `ConfigurationError` for credentials of the environment that can't be sent; a profile's go before them."""
    if not are_found(options) or options.get(PROFILE):
        return
    for name in _IN_ENVIRONMENT:
        if has_control(Secret(os.environ.get(name, ""))):
            raise ConfigurationError(
                f"{name} in the environment has the end of a line, or another control character, in it: cut it off."
            )


def is_aws_endpoint(endpoint: str | None) -> bool:
    """Return True for an endpoint of AWS' own; None is one."""
    host = (urlsplit(endpoint).hostname or "") if endpoint else ".amazonaws.com"
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def allowed_sums(storage_options: Sealed, arguments: Mapping[str, Any]) -> tuple[Sums, ...]:
    """Return the checksums that bodies may go with, the best first: those that were asked for, or all.

    An algorithm that is asked for goes before botocore's `request_checksum_calculation`, as it does with botocore.
    """
    if asked := _asked_sums(storage_options):
        return asked
    if arguments["config_kwargs"][_CALCULATION] != _WHEN[0]:
        return ("none",)
    known: list[Sums] = [one for sums in ALGORITHMS.values() for one in sums]
    return (*filter(can_sum, known), "none")


def _asked_sums(options: Sealed) -> tuple[Sums, ...]:
    """Return the checksums of the algorithm that was asked for, if any; raise for one that can't be computed here."""
    asked = options.get(ALGORITHM)
    if asked is None:
        return ()
    name = (asked.reveal() if isinstance(asked, Secret) else asked).upper().replace("-", "")
    if name not in ALGORITHMS:
        raise ConfigurationError(f"{ALGORITHM} in storage_options is not one of {', '.join(ALGORITHMS)}.")
    if not all(map(can_sum, ALGORITHMS[name])):
        raise ConfigurationError(f"{ALGORITHM}={name!r} needs the library awscrt: pip install 'mc-sink[crc64nvme]'.")
    return ALGORITHMS[name]


def check_names(
    options: Mapping[str, Any], known: Iterable[str], owner: str, *, place: str = "storage_options"
) -> None:
    """Refuse names that `owner` doesn't know, with the nearest one that it does."""
    from difflib import get_close_matches

    names = sorted(known)
    for name in options:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(names)}."
            raise ConfigurationError(f"{place} has {shown(name)!r}, which {owner} doesn't know: {advice}")


def check_owner(owner: Secret | str | None, place: str) -> None:
    """Raise `ConfigurationError` for an account that isn't 12 digits, without repeating it."""
    text = owner.reveal() if isinstance(owner, Secret) else owner
    if text is not None and not _ACCOUNT.fullmatch(text):
        raise ConfigurationError(f"{place} is not the number of an AWS account: write its 12 digits, as text.")


def _check_config(config: Mapping[str, Any]) -> None:
    """Refuse what botocore would raise for without a suggestion, or read over, as it does within `s3`."""
    from aiobotocore.config import AioConfig
    from botocore.configprovider import DEFAULT_S3_CONFIG_VARS

    known = {*AioConfig.OPTION_DEFAULTS, "connector_args", "http_session_cls", "warm_up_loader_caches"}
    check_names(config, known, "botocore", place="config_kwargs")
    section = config.get("s3")
    if not isinstance(section, Mapping | None):
        raise ConfigurationError(f"config_kwargs['s3'] is to be a dict, and is of type {type(section).__name__}.")
    check_names(section or {}, DEFAULT_S3_CONFIG_VARS, "botocore", place="config_kwargs['s3']")
    for name, value in (section or {}).items():
        if DEFAULT_S3_CONFIG_VARS[name][3] is not None and not isinstance(value, bool | None):
            raise ConfigurationError(
                f"config_kwargs['s3'][{name!r}] is to be True or False, and is of type {type(value).__name__}."
            )


def _check_forms(options: Mapping[str, Any]) -> None:
    wrong = [
        f"{name} in storage_options is to be {told}, and is of type {type(options.get(name)).__name__}."
        for name, (form, told) in _FORMS.items()
        if not isinstance(options.get(name), form | None)
    ]
    if wrong:
        raise ConfigurationError(wrong[0])


def _with_defaults(options: Sealed) -> Sealed:
    """Add what fsspec's own configuration would add when the filesystem is made, behind all checks."""
    import s3fs
    from fsspec.config import apply_config

    return seal(apply_config(s3fs.S3FileSystem, dict(options))).checked()


def _config(given: Mapping[str, Any], endpoint: Endpoint, session: AioSession) -> dict[str, Any]:
    """Return botocore's configuration: its caller's, but for what a delivery depends on.

    botocore adds the s3 section of the profile, over which whatever is passed here takes precedence.
    """
    profile = session.get_config_variable("s3") or {}
    signed = profile.get("payload_signing_enabled", not endpoint.private or bool(given.get("proxies")))
    signing = {"payload_signing_enabled": signed} | dict(given.get("s3") or {})
    ours = {
        "retries": NO_RETRIES,
        "http_session_cls": http_session(),
        "s3": signing,
        _CALCULATION: _calculation(given, session),
        "ignore_configured_endpoint_urls": True,  # they have been looked up already
    }
    # Or a proxy of the environment's would get, in plain, what never was to leave this machine.
    unproxied: dict[str, Any] = {"proxies": {}} if endpoint.loopback else {}
    return DEFAULT_CONFIG | unproxied | dict(given) | ours


def may_sign(options: Sealed) -> bool:
    """Return False where the caller, or else the profile's s3 section, says that bodies are not to be signed."""
    given = _with_defaults(options)
    asked = (given.get("config_kwargs") or {}).get("s3") or {}
    with silence():
        session = given.get("session") or new_session(given.get(PROFILE))
        profile = session.get_config_variable("s3") or {}
    said = asked.get("payload_signing_enabled", profile.get("payload_signing_enabled"))
    return str(said).lower() != "false"


def _calculation(given: Mapping[str, Any], session: AioSession) -> str:
    """Return when bodies go with a checksum: as asked for here, in the environment, or in the AWS configuration."""
    found = given.get(_CALCULATION)
    if found is None:
        with suppress(Exception):  # a configuration that can't be read fails where credentials are looked up in it
            found = session.get_config_variable(_CALCULATION)
    asked = str(found.reveal() if isinstance(found, Secret) else found or _WHEN[0]).lower()
    if asked not in _WHEN:
        raise ConfigurationError(
            f"{_CALCULATION}, in config_kwargs, in AWS_REQUEST_CHECKSUM_CALCULATION or in the AWS configuration, has "
            f"a value that botocore doesn't know. Use {' or '.join(_WHEN)}."
        )
    return asked


def new_session(profile: Secret | None) -> AioSession:
    """Make a session of its own, with its own credentials; only the descriptions of S3 are shared."""
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile.reveal() if profile else None)
    session.register_component("data_loader", _descriptions())
    return session


@cache
def _descriptions() -> Loader:
    """Read botocore's descriptions of services once: measured, most of the 0.2 s that a client costs."""
    from botocore.loaders import create_loader

    return create_loader()
