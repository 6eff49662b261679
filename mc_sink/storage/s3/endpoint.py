"""The endpoint of a delivery: looked up once, where botocore would look for it, and judged before anything is sent.

It decides whether a request may be sent at all, whether its body is signed, and where it goes. So there is only this
one: botocore is told not to look for another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

# https://developers.cloudflare.com/r2/objects/multipart-objects/
EQUAL_PARTS = ".r2.cloudflarestorage.com"


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """Where requests go, None for AWS' own; `private` where nobody can read or change them on their way.

    That is TLS, or this very machine. There the CRC32 that every request carries is enough, and signing the body too
    would halve the speed (measured).
    """

    url: Secret | None
    private: bool
    loopback: bool


def is_aws(host: str | None) -> bool:
    """Return True for a host of AWS' own, where conditions and checksums are documented to hold; None is one."""
    return host is None or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def wants_equal_parts(host: str | None) -> bool:
    """Return True for a host of Cloudflare R2, which refuses, at Complete, uploads with parts of several sizes."""
    return (host or "").endswith(EQUAL_PARTS)


def find_endpoint(options: Mapping[str, Any], session: Any) -> Endpoint:
    """Give the one endpoint of a delivery, or raise `ConfigurationError` for one that secrets may not be sent to."""
    client = options.get("client_kwargs") or {}
    tls = client.get("use_ssl", options.get("use_ssl", True))
    if not isinstance(tls, bool):
        raise ConfigurationError(f"use_ssl in storage_options is to be True or False, and is {type(tls).__name__}.")
    where, url = _asked(options, client) or _configured(options, session) or ("", None)
    if url is None:
        return Endpoint(None, private=tls, loopback=False)
    if wrong := _wrong_with(url, tls=tls):
        raise ConfigurationError(f"{where} {wrong}")
    return Endpoint(url, private=_is_tls(url) or _is_loopback(url), loopback=_is_loopback(url))


def find_region(options: Mapping[str, Any], session: Any) -> str | None:
    """Return the region that AWS_REGION names, where nothing that botocore reads by itself comes first.

    Explicit options do: a region of the client or of the session, and a profile that was asked for and has one. So
    does AWS_DEFAULT_REGION. botocore doesn't know AWS_REGION, which Polars, DuckDB and the other SDKs read.
    """
    places = (options.get("client_kwargs") or {}, options.get("config_kwargs") or {})
    if any(place.get("region_name") for place in places) or os.environ.get("AWS_DEFAULT_REGION"):
        return None
    explicit = session.instance_variables()
    if explicit.get("region") or (explicit.get("profile") and session.get_scoped_config().get("region")):
        return None
    return os.environ.get("AWS_REGION", "").strip() or None


def _asked(options: Mapping[str, Any], client: Mapping[str, Any]) -> tuple[str, Secret] | None:
    """Find the endpoint that the caller asked for; s3fs takes it at two places."""
    places = [("endpoint_url", options), ("client_kwargs['endpoint_url']", client)]
    asked = [(where, place["endpoint_url"]) for where, place in places if place.get("endpoint_url")]
    if len(asked) > 1 and asked[0][1] != asked[1][1]:
        raise ConfigurationError("storage_options has 2 endpoints, and one is in client_kwargs: leave one out.")
    return asked[0] if asked else None


def _configured(options: Mapping[str, Any], session: Any) -> tuple[str, Secret] | None:
    """Find the endpoint of the environment or the profile, with no word of what else stands in a file."""
    try:
        return _look_up(options.get("config_kwargs") or {}, session)
    except Exception as error:  # noqa: BLE001  each botocore version has its own, and their texts quote the files
        kind = type(error).__name__
    raise ConfigurationError(
        f"The AWS configuration can't be read ({kind}). Check the profile's name, and ~/.aws/config or what "
        f"AWS_CONFIG_FILE names."
    )


def _look_up(config: Mapping[str, Any], session: Any) -> tuple[str, Secret] | None:
    """Look where botocore does: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html."""
    ignored = config.get("ignore_configured_endpoint_urls")
    if session.get_config_variable("ignore_configured_endpoint_urls") if ignored is None else ignored:
        return None
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return name, Secret(os.environ[name])
    services = session.get_scoped_config().get("services")
    if services and session.full_config["services"][services].get("s3", {}).get("endpoint_url"):
        url = Secret(session.full_config["services"][services]["s3"]["endpoint_url"])
        return "endpoint_url of s3 in the profile's services", url
    if session.get_scoped_config().get("endpoint_url"):
        return "endpoint_url of the profile", Secret(session.get_scoped_config()["endpoint_url"])
    return None


def _wrong_with(url: Secret, *, tls: bool) -> str | None:
    """Say why an endpoint won't do, repeating nothing of it but its host."""
    if set("@?#") & set(url.reveal()):
        return "has credentials or a query in it. URLs end up in logs: pass key and secret by their names."
    try:
        host, scheme = urlsplit(url.reveal()).hostname, urlsplit(url.reveal()).scheme
        _ = urlsplit(url.reveal()).port
    except ValueError:
        host = scheme = None
    if scheme not in {"http", "https"} or not host:
        return "is no URL with http or https: write https://host or https://host:port."
    if scheme == "http" and tls and not _is_loopback(url):
        return (
            f"leads to http://{host}, and plain http would show the session token and the data to everybody on the "
            "way. Use https, or accept that with storage_options={'use_ssl': False}."
        )
    return None


def _is_tls(url: Secret) -> bool:
    return urlsplit(url.reveal()).scheme == "https"


def _is_loopback(url: Secret) -> bool:
    """Whether it leads to this very machine."""
    host = urlsplit(url.reveal()).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
