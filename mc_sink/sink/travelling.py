"""Choose the storage options that may travel to workers, and find the credentials there, which never travel.

A `Delivery` is pickled, written as JSON, and may be shown in an engine's logs and plans. So only options that can't
hold a secret are in it. Each process finds its own credentials: where AWS' libraries look for them, or in a function
that the caller names.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Sealed, seal, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECTION: dict[str, Any] = dict.fromkeys(("addressing_style", "payload_signing_enabled", "use_accelerate_endpoint"))
# The names that can't hold a secret, those of nested mappings included.
_MAY_TRAVEL: dict[str, Any] = {
    **dict.fromkeys(("profile", "expected_bucket_owner", "default_block_size", "max_concurrency", "equal_parts")),
    **dict.fromkeys(("checksum_algorithm", "use_ssl", "anon", "endpoint_url", "host", "port")),
    "client_kwargs": dict.fromkeys(("region_name", "use_ssl", "verify")),
    "config_kwargs": {
        **dict.fromkeys(("connect_timeout", "read_timeout", "max_pool_connections", "request_checksum_calculation")),
        "s3": _SECTION,
    },
}
_ADVICE = (
    "A delivery travels to workers, in pickles, logs and plans. Leave credentials to each machine (a role, a web "
    'identity, a mounted secret, the environment), or pass credentials="module:function", a function that returns '
    "storage_options and is called in each process."
)


def travelling(storage_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options as plain values. Raises `ConfigurationError` for one that may hold a secret."""
    given = seal(storage_options).checked()
    if refused := next(_refused(given, _MAY_TRAVEL), None):
        raise ConfigurationError(f"{refused} of storage_options, or of the platform, can't travel. {_ADVICE}")
    return {name: _plain(value) for name, value in given.reveal().items()}


def _refused(given: Mapping[str, Any], allowed: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield the name of each option that may hold a secret."""
    for name, value in given.items():
        where = f"{place}[{shown(name)!r}]" if place else repr(shown(name))
        if name not in allowed:
            yield where
        elif allowed[name] is not None and isinstance(value, Mapping):
            yield from _refused(value, allowed[name], where)
        elif isinstance(value, Mapping | list | tuple):
            yield where
        elif name == "endpoint_url" and value is not None and not _is_bare(given):
            yield f"{where} with a user or a query"


def _is_bare(given: Mapping[str, Any]) -> bool:
    """Return True if the endpoint has neither a user nor a query."""
    parts = urlsplit(Sealed({"url": given["endpoint_url"]}).reveal()["url"])
    return not (parts.username or parts.password or parts.query or parts.fragment)


def _plain(value: Any) -> Any:
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, Mapping) else value


def storage_options_here(plain: Mapping[str, Any], credentials: str | None) -> Sealed | None:
    """Return the options of this process: those that travelled, and those of the function that is named.

    Raises `ConfigurationError` for a function that can't be found, or that returns something else or an option that
    has travelled too.
    """
    if credentials is None:
        return seal(plain) if plain else None
    found = _call(credentials)
    if twice := sorted(set(found) & set(plain)):
        raise ConfigurationError(
            f"{credentials} returned {', '.join(map(shown, twice))}, which storage_options has too. Leave one out."
        )
    return seal({**plain, **found}).checked()


def _call(credentials: str) -> Sealed:
    """Return the options of the function, sealed before any variable holds them."""
    module, separator, name = credentials.partition(":")
    try:
        function = getattr(import_module(module), name if separator else "")
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"credentials={credentials!r} can't be found in this process: {error}. Name a function that every worker "
            'can import, as in "module:function".'
        ) from None
    found = seal(function())
    return found.checked()
