"""Find the endpoint of a delivery once, in the places where botocore looks, and check it before anything is sent.

The endpoint decides whether a request may be sent at all, whether its body is signed, and where it goes. So botocore
is configured not to look for another one.
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
    """The address of a store.

    - `url`: None for AWS' own.
    - `private`: requests can't be read or changed on their way, because they use TLS or stay on this machine. Then the
      CRC32 that they carry is enough. Signing the body too would halve the speed (measured).
    - `loopback`: the store is on this machine.
    """

    url: Secret | None
    private: bool
    loopback: bool


def is_aws(host: str | None) -> bool:
    """Return True for a host of AWS, where conditions and checksums are documented to hold; None stands for one."""
    return host is None or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def wants_equal_parts(host: str | None) -> bool:
    """Return True for a host of Cloudflare R2, which refuses, at Complete, uploads with parts of several sizes."""
    return (host or "").endswith(EQUAL_PARTS)


def find_endpoint(options: Mapping[str, Any], session: Any) -> Endpoint:
    """Return the endpoint of a delivery, or raise `ConfigurationError` if secrets must not be sent to it."""
    client = options.get("client_kwargs") or {}
    tls = client.get("use_ssl", options.get("use_ssl", True))
    if not isinstance(tls, bool):
        raise ConfigurationError(f"use_ssl in storage_options must be True or False, not {type(tls).__name__}.")
    places = [("endpoint_url", options), ("client_kwargs['endpoint_url']", client)]  # s3fs takes it in both
    asked = [(where, place["endpoint_url"]) for where, place in places if place.get("endpoint_url")]
    if len(asked) > 1 and asked[0][1] != asked[1][1]:
        raise ConfigurationError(
            "storage_options has 2 endpoints: endpoint_url, and client_kwargs['endpoint_url']. Remove one of them."
        )
    where, url = asked[0] if asked else _configured(options, session) or ("", None)
    if url is None:
        return Endpoint(None, private=tls, loopback=False)
    if wrong := _wrong_with(url, tls=tls):
        raise ConfigurationError(f"{where} {wrong}")
    return Endpoint(
        url, private=urlsplit(url.reveal()).scheme == "https" or _is_loopback(url), loopback=_is_loopback(url)
    )


def find_region(options: Mapping[str, Any], session: Any) -> str | None:
    """Return the region that AWS_REGION names, unless a setting that botocore reads by itself takes precedence.

    Such settings are a region of the client or of the session, AWS_DEFAULT_REGION, and a profile with a region that
    the caller chose. botocore doesn't read AWS_REGION. Polars, DuckDB and the other SDKs do.
    """
    places = (options.get("client_kwargs") or {}, options.get("config_kwargs") or {})
    if any(place.get("region_name") for place in places) or os.environ.get("AWS_DEFAULT_REGION"):
        return None
    explicit = session.instance_variables()
    if explicit.get("region") or (explicit.get("profile") and session.get_scoped_config().get("region")):
        return None
    return os.environ.get("AWS_REGION", "").strip() or None


def _configured(options: Mapping[str, Any], session: Any) -> tuple[str, Secret] | None:
    """Find the endpoint of the environment or the profile, where botocore looks; an error quotes nothing of the files.

    The places: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html.
    """
    ignored = (options.get("config_kwargs") or {}).get("ignore_configured_endpoint_urls")
    try:
        if session.get_config_variable("ignore_configured_endpoint_urls") if ignored is None else ignored:
            return None
        if name := next(filter(os.environ.get, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")), None):
            return name, Secret(os.environ[name])
        profile = session.get_scoped_config()
        services = profile.get("services")
        of_s3 = session.full_config["services"][services].get("s3", {}) if services else {}
    except Exception as error:  # noqa: BLE001  each botocore version has its own, and their texts quote the files
        kind = type(error).__name__
    else:
        places = [("endpoint_url of s3 in the profile's services", of_s3), ("endpoint_url of the profile", profile)]
        urls = ((where, place.get("endpoint_url")) for where, place in places)
        return next(((where, Secret(url)) for where, url in urls if url), None)
    raise ConfigurationError(
        f"The AWS configuration can't be read ({kind}). Check the profile's name, and ~/.aws/config or what "
        f"AWS_CONFIG_FILE names."
    )


def _wrong_with(url: Secret, *, tls: bool) -> str | None:
    """Return why an endpoint is refused, or None; repeats only its host."""
    if set("@?#") & set(url.reveal()):
        return "contains credentials or a query, and URLs end up in logs. Pass key and secret by their names."
    try:
        host, scheme = urlsplit(url.reveal()).hostname, urlsplit(url.reveal()).scheme
        _ = urlsplit(url.reveal()).port
    except ValueError:
        host = scheme = None
    if scheme not in {"http", "https"} or not host:
        return "is not a URL with http or https. Write https://host or https://host:port."
    if scheme == "http" and tls and not _is_loopback(url):
        return (
            f"leads to http://{host}, and plain http shows the session token and the data on the way. Use https, or "
            "accept that with storage_options={'use_ssl': False}."
        )
    return None


def _is_loopback(url: Secret) -> bool:
    """Return True if the URL leads to this machine."""
    host = urlsplit(url.reveal()).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
