"""Check whether a platform can deliver to a target, and record the result."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mc_sink.exceptions import ConfigurationError
from mc_sink.object_options import ObjectOptions
from mc_sink.platforms.check_report import CheckReport, CheckRow, judged
from mc_sink.platforms.check_rows import report_rows
from mc_sink.platforms.platform import Checked, Platform
from mc_sink.platforms.probe_requests import gather
from mc_sink.platforms.saved import load, memory_of, record_check
from mc_sink.storage import Probes, StoreWays, Trial, is_aws

if TYPE_CHECKING:
    import os

    from mc_sink.platforms.probe_requests import Evidence, Leaving
    from mc_sink.platforms.saved import Memory
    from mc_sink.target import Target


def check(
    platform: str | Platform, target: str | os.PathLike[str] | None = None, *, leaving: Leaving = "nothing"
) -> CheckReport:
    """Find out whether a platform can deliver to a prefix, with the three permissions of a delivery and no others.

    Nothing that is there is touched, and nothing is left, unless `leaving="an object"` allows for one under a key of
    its own, which tells more. `target` is the platform's own prefix by default. The finding is kept with a platform
    that was given by its name. Raises `ConfigurationError` for a target that the platform may not be used for; whatever
    the store says is in the report.
    """
    asked = load(platform) if isinstance(platform, str) else platform.checked()
    where = _prefix(asked, target)
    report = _report(asked, where, leaving, memory_of(platform))
    if isinstance(platform, str):
        record_check(asked, Checked(report.status, report.reason, report.checked_at, report.target))
    return report


def _prefix(platform: Platform, target: str | os.PathLike[str] | None) -> Target:
    asked = target or platform.prefix
    if asked is None:
        raise ConfigurationError(
            f"The platform {platform.name} has no prefix of its own: name one, s3://bucket/prefix/"
        )
    where = platform.check_bounds(asked)
    if not where.is_prefix:
        raise ConfigurationError(
            f"{where.url} is one object, and a check needs keys of its own: name the prefix, {where.folder.url}"
        )
    return where


def _report(platform: Platform, where: Target, leaving: Leaving, memory: Memory | None) -> CheckReport:
    began = datetime.now(UTC)
    options = platform.object_options() or ObjectOptions()
    left: tuple[str, ...] = ()
    try:
        probes = Probes(platform.storage_options_for(where))
        trial = Trial(platform.storage_options_for(where), options) if leaving == "an object" else None
    except ConfigurationError as error:
        said = error.message
        rows: tuple[CheckRow, ...] = (CheckRow("credentials", "no", "AWS' own configuration", said, required=True),)
    else:
        found = gather(probes, where, options, on_aws=is_aws(probes.host), trial=trial)
        found = _remembered(found, trial, memory, (probes.endpoint, where.bucket))
        rows, left = report_rows(found, platform, where), found.left
    status, reason = judged(rows)
    return CheckReport(platform.name, where.url, status, reason, began, rows, left)


def _remembered(found: Evidence, trial: Trial | None, memory: Memory | None, place: tuple[str, str]) -> Evidence:
    """Add what is known of the store: what the trial has shown, which is kept, or what was kept before."""
    if trial:
        if memory:
            memory.renew(*place, trial.ways.facts())
        return replace(found, ways=trial.ways)
    since = memory.since(*place) if memory else None
    if memory is None or since is None:
        return found
    ways = StoreWays()
    ways.recall(memory.recall(*place))
    return replace(found, ways=ways, since=since)
