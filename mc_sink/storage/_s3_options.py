"""`storage_options` for S3: s3fs' own names, each checked, because s3fs lets an unknown one vanish."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mc_sink.exceptions import ConfigurationError
from mc_sink.storage._http import http_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiobotocore.session import AioSession
    from botocore.loaders import Loader

# Timeouts end a request to a store that doesn't answer; one layer retries, and it is ours.
DEFAULT_CONFIG = {"connect_timeout": 10, "read_timeout": 60, "max_pool_connections": 32}
NO_RETRIES = {"total_max_attempts": 1, "mode": "standard"}
PROFILE = "profile"
AWS = "https://amazonaws.com"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OURS = {
    "self",
    "kwargs",
    "asynchronous",
    "loop",
    "fixed_upload_size",
    "default_fill_cache",
    "default_cache_type",
    "version_aware",
    "s3_additional_kwargs",
}
_CUTS_PARTS = {"default_block_size", "max_concurrency"}


def filesystem_arguments(storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of `S3FileSystem`, or raise `ConfigurationError` for a name it would ignore."""
    from inspect import signature

    import s3fs

    if "s3_additional_kwargs" in storage_options:
        raise ConfigurationError(
            "storage_options['s3_additional_kwargs'] drops names it doesn't know; "
            "use object_options=ObjectOptions(acl=…, sse=…, …), which checks them."
        )
    known = (set(signature(s3fs.S3FileSystem.__init__).parameters) - _OURS) | {PROFILE}
    check_names(storage_options, known, "s3fs")
    arguments = {name: value for name, value in storage_options.items() if name not in {*_CUTS_PARTS, PROFILE}}
    given = dict(arguments.get("config_kwargs") or {})
    signing = {"payload_signing_enabled": not _is_private(arguments)} | dict(given.get("s3") or {})
    ours = {"retries": NO_RETRIES, "http_session_cls": http_session(), "s3": signing}
    config = DEFAULT_CONFIG | given | ours
    session = arguments.get("session") or _new_session(storage_options.get(PROFILE))
    return arguments | {"config_kwargs": config, "session": session}


def _new_session(profile: str | None) -> AioSession:
    """Make a session of its own, with its own credentials; only the descriptions of S3 are shared."""
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile)
    session.register_component("data_loader", _descriptions())
    return session


@cache
def _descriptions() -> Loader:
    """Read botocore's descriptions of services once: measured, most of the 0.2 s that a client costs."""
    from botocore.loaders import create_loader

    return create_loader()


def _is_private(arguments: Mapping[str, Any]) -> bool:
    """Whether nobody can change a body on its way: TLS, or this very machine.

    There the CRC32 that every request carries is enough, and signing the body too would halve the speed (measured).
    """
    if arguments.get("use_ssl") is False:
        return False
    asked = arguments.get("endpoint_url") or (arguments.get("client_kwargs") or {}).get("endpoint_url")
    endpoint = urlsplit(asked or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or AWS)
    return endpoint.scheme == "https" or endpoint.hostname in LOOPBACK


def check_names(storage_options: Mapping[str, Any], known: Iterable[str], owner: str) -> None:
    """Refuse names that `owner` doesn't know, with the nearest one that it does."""
    from difflib import get_close_matches

    names = sorted(known)
    for name in storage_options:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(names)}."
            raise ConfigurationError(f"storage_options has {name!r}, which {owner} doesn't know: {advice}")
