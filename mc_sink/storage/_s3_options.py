"""`storage_options` for S3: s3fs' own names, each checked, because s3fs lets an unknown one vanish."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiobotocore.session import AioSession
    from botocore.loaders import Loader

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
    "s3_additional_kwargs",
}
_CUTS_PARTS = {"default_block_size", "max_concurrency"}


def filesystem_arguments(storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of `S3FileSystem`, or raise `ConfigurationError` for a name it would ignore."""
    import s3fs

    if "s3_additional_kwargs" in storage_options:
        raise ConfigurationError(
            "storage_options['s3_additional_kwargs'] drops names it doesn't know; "
            "use object_options=ObjectOptions(acl=…, sse=…, …), which checks them."
        )
    known = (set(inspect.signature(s3fs.S3FileSystem.__init__).parameters) - _OURS) | {PROFILE}
    check_names(storage_options, known, "s3fs")
    arguments = {name: value for name, value in storage_options.items() if name not in {*_CUTS_PARTS, PROFILE}}
    ours = {"retries": NO_RETRIES, "http_session_cls": _http_session()}
    config = DEFAULT_CONFIG | dict(arguments.get("config_kwargs") or {}) | ours
    session = arguments.get("session") or _new_session(storage_options.get(PROFILE))
    return arguments | {"config_kwargs": config, "session": session}


def _new_session(profile: str | None) -> AioSession:
    """Make a session of its own, with its own credentials; only the descriptions of S3 are shared."""
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile)
    session.register_component("data_loader", _descriptions())
    return session


@cache
def _http_session() -> type:
    """Make an HTTP session that sends a request once.

    aiohttp sends a PUT again by itself when a connection that it kept open breaks, unseen: a put that had taken effect
    then looks refused. It has no public switch for that; a test with a lost reply watches that this one works.
    """
    from aiobotocore.httpsession import AIOHTTPSession

    class SendsOnce(AIOHTTPSession):
        async def _get_session(self, proxy_url: str | None) -> Any:
            session = await super()._get_session(proxy_url)
            session._retry_connection = False  # noqa: SLF001  see above
            return session

    return SendsOnce


@cache
def _descriptions() -> Loader:
    """Read botocore's descriptions of services once: measured, most of the 0.2 s that a client costs."""
    from botocore.loaders import create_loader

    return create_loader()


def check_names(storage_options: Mapping[str, Any], known: Iterable[str], owner: str) -> None:
    """Refuse names that `owner` doesn't know, with the nearest one that it does."""
    names = sorted(known)
    for name in storage_options:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(names)}."
            raise ConfigurationError(f"storage_options has {name!r}, which {owner} doesn't know: {advice}")
