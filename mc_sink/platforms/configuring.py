"""Set a platform up in a notebook or at a Python prompt, and check whether it can deliver to a target."""

from __future__ import annotations

import getpass
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from mc_sink.exceptions import ConfigurationError
from mc_sink.object_options import ObjectOptions
from mc_sink.platforms.check_report import CheckReport, CheckRow, judged
from mc_sink.platforms.check_rows import report_rows
from mc_sink.platforms.platform import Checked, Platform
from mc_sink.platforms.policies import new_external_id
from mc_sink.platforms.probe_requests import gather
from mc_sink.platforms.saved import load, memory_of, record_check, refuse_unsaved, save
from mc_sink.secret import Secret
from mc_sink.storage import Probes, StoreSupport, Trial, is_aws

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from mc_sink.object_options import CannedAcl
    from mc_sink.platforms.probe_requests import Leaving
    from mc_sink.platforms.saved import Memory
    from mc_sink.platforms.secret_store import Place
    from mc_sink.target import Target

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
    recipients: tuple[str, ...]


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
    - `facts`: the fields of `Platform`, as arguments. `external_id="new"` generates one.

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
    key: Any = {}
    if not has_credentials:  # in a notebook, getpass shows a password field
        key["access_key_id"] = Secret(getpass.getpass("Access Key ID: "))
        key["secret_access_key"] = Secret(getpass.getpass("Secret Access Key: "))
        token = Secret(getpass.getpass("Session Token (none): "))
        key |= {"session_token": token} if token.reveal() else {}
    saved = save(Platform(name=chosen, **facts, **key), if_exists=if_exists, store=store)
    return saved if target is None else check(chosen, target)


def check(
    platform: str | Platform, target: str | os.PathLike[str] | None = None, *, leaving: Leaving = "nothing"
) -> CheckReport:
    """Check whether a platform can deliver to a prefix, with the three permissions of a delivery and no others.

    No existing object is touched, and nothing is left behind. With `leaving="an object"` the check sends the requests
    of a delivery too, and leaves one small object under a random key.

    - `platform`: a saved platform's name, with which the result is recorded, or a `Platform`.
    - `target`: a prefix, by default the platform's own.
    - `leaving`: "an object" allows the one that such a check leaves.

    Raises `ConfigurationError` for a target that the platform doesn't allow. All answers of the store are in the
    report.
    """
    chosen = load(platform) if isinstance(platform, str) else platform.checked()
    url = target or chosen.prefix
    if url is None:
        raise ConfigurationError(
            f"Cannot check the platform {chosen.name}: it has no prefix of its own. Name one, s3://bucket/prefix/."
        )
    where = chosen.check_bounds(url)
    if not where.is_prefix:
        raise ConfigurationError(
            f"Cannot check {where.url}: it is one object, and a check needs a prefix. Name {where.folder.url}"
        )
    report = _report(chosen, where, leaving, memory_of(platform))
    if isinstance(platform, str):
        record_check(chosen, Checked(report.status, report.reason, report.checked_at, report.target))
    return report


def _report(platform: Platform, where: Target, leaving: Leaving, memory: Memory | None) -> CheckReport:
    began = datetime.now(UTC)
    options = platform.object_options() or ObjectOptions()
    left: tuple[str, ...] = ()
    try:
        probes = Probes(platform.storage_options_for(where))
        trial = Trial(platform.storage_options_for(where), options) if leaving == "an object" else None
    except ConfigurationError as error:
        rows: tuple[CheckRow, ...] = (
            CheckRow("credentials", "no", "the configuration of the AWS tools", error.message, required=True),
        )
    else:
        found = gather(probes, where, options, on_aws=is_aws(probes.host), trial=trial)
        place = (probes.endpoint, where.bucket)
        if trial and memory:
            memory.renew(*place, trial.support.facts())
        if trial:
            found = replace(found, ways=trial.support)
        elif memory and (since := memory.since(*place)):
            ways = StoreSupport()
            ways.recall(memory.recall(*place))
            found = replace(found, ways=ways, since=since)
        rows, left = report_rows(found, platform, where), tuple(map(str, found.left))
    status, reason = judged(rows)
    return CheckReport(platform.name, where.url, status, reason, began, rows, left)
