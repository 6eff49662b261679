"""Ask for a platform's settings in a notebook or at a Python prompt."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from mc_sink.exceptions import ConfigurationError
from mc_sink.platforms.checking import check
from mc_sink.platforms.platform import Platform
from mc_sink.platforms.policies import new_external_id
from mc_sink.platforms.saved import refuse_unsaved, save
from mc_sink.secret import Secret

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from mc_sink.object_options import CannedAcl
    from mc_sink.platforms.check_report import CheckReport
    from mc_sink.platforms.secret_store import Place

Asking = Literal["ask", "ambient"]


class Facts(TypedDict, total=False):
    """The fields of a `Platform` besides its name and key."""

    profile: str | None
    role_arn: str | None
    external_id: str | None
    web_identity_token_file: str | None
    sts_endpoint: str | None
    region: str | None
    endpoint: str | None
    expected_bucket_owner: str | None
    acl: CannedAcl | None
    kms_key: str | None
    prefix: str | None
    buckets: tuple[str, ...]


@overload
def configure(
    name: str | None = None,
    target: None = None,
    *,
    credentials: Asking = "ask",
    if_exists: Literal["fail", "overwrite"] = "fail",
    store: Place | None = None,
    **facts: Unpack[Facts],
) -> Platform: ...


@overload
def configure(
    name: str | None = None,
    target: str | os.PathLike[str] = ...,
    *,
    credentials: Asking = "ask",
    if_exists: Literal["fail", "overwrite"] = "fail",
    store: Place | None = None,
    **facts: Unpack[Facts],
) -> CheckReport: ...


def configure(
    name: str | None = None,
    target: str | os.PathLike[str] | None = None,
    *,
    credentials: Asking = "ask",
    if_exists: Literal["fail", "overwrite"] = "fail",
    store: Place | None = None,
    **facts: Unpack[Facts],
) -> Platform | CheckReport:
    """Ask for a key without showing it, save it as a platform, and check it if a target is given.

    - `name`: asked for where it is left out.
    - `target`: a prefix to check. Then the result is the report of the check, and otherwise the platform.
    - `credentials`: "ambient" asks for no key, and leaves it to boto to find credentials. No key is asked for with
      `profile` or `web_identity_token_file` either.
    - `if_exists`, `store`: as in `platforms.save`.
    - The other arguments are the fields of `Platform`. `external_id="new"` generates one.

    Raises `ConfigurationError` before it asks for a key: for a name that exists, for invalid fields, and for a target
    outside `buckets`.
    """
    if credentials not in {"ask", "ambient"}:
        raise ConfigurationError('credentials= is neither "ask" nor "ambient". Nothing was saved.')
    chosen = name or input("Platform: ").strip()
    if facts.get("external_id") == "new":
        facts["external_id"] = new_external_id()
    described = Platform(name=chosen, **facts)
    refuse_unsaved(described, if_exists=if_exists, store=store)
    if target is not None:
        described.check_bounds(target)
    has_credentials = credentials == "ambient" or described.profile or described.web_identity_token_file
    key: Any = {} if has_credentials else _ask()
    saved = save(Platform(name=chosen, **facts, **key), if_exists=if_exists, store=store)
    return saved if target is None else check(chosen, target)


def _ask() -> dict[str, Secret]:
    """Ask for the parts of a key; the token may stay empty. In a notebook, getpass shows a password field."""
    key = {
        "access_key_id": Secret(getpass.getpass("Access Key ID: ")),
        "secret_access_key": Secret(getpass.getpass("Secret Access Key: ")),
    }
    token = Secret(getpass.getpass("Session Token (none): "))
    return key | ({"session_token": token} if token.reveal() else {})
