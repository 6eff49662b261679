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
    """What may be said of a platform besides its key; see `Platform`."""

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
    """Ask for a key without showing it, save it as a platform, and check it where a target is given.

    Asks for the name too, where there is none. Nobody is asked for a key where `profile` or `web_identity_token_file`
    say whose it is, or `credentials="ambient"` leaves it to what AWS' own tools find. `external_id="new"` makes one.
    The other facts are those of `Platform`, and `if_exists` and `store` those of `platforms.save`. Gives the platform,
    or what the check of `target` has found. Raises `ConfigurationError` before it asks for a key, where the name
    is taken, the facts can't be meant or the target is out of bounds.
    """
    if credentials not in {"ask", "ambient"}:
        raise ConfigurationError('credentials=… is neither "ask" nor "ambient". Nothing was saved.')
    chosen = name or input("Platform: ").strip()
    if facts.get("external_id") == "new":
        facts["external_id"] = new_external_id()
    described = Platform(name=chosen, **facts)
    refuse_unsaved(described, if_exists=if_exists, store=store)
    if target is not None:
        described.check_bounds(target)
    elsewhere = credentials == "ambient" or described.profile or described.web_identity_token_file
    held: Any = {} if elsewhere else _asked()
    saved = save(Platform(name=chosen, **facts, **held), if_exists=if_exists, store=store)
    return saved if target is None else check(chosen, target)


def _asked() -> dict[str, Secret]:
    """Ask for the parts of a key; the token may stay empty. A notebook puts a field of its own in getpass' place."""
    key = {
        "access_key_id": Secret(getpass.getpass("Access Key ID: ")),
        "secret_access_key": Secret(getpass.getpass("Secret Access Key: ")),
    }
    token = Secret(getpass.getpass("Session Token (none): "))
    return key | ({"session_token": token} if token.reveal() else {})
