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
from mc_sink.storage import Probes, StoreSupport, Trial, is_aws

if TYPE_CHECKING:
    import os

    from mc_sink.platforms.probe_requests import Leaving
    from mc_sink.platforms.saved import Memory
    from mc_sink.target import Target


def check(
    platform: str | Platform, target: str | os.PathLike[str] | None = None, *, leaving: Leaving = "nothing"
) -> CheckReport:
    """Check whether a platform can deliver to a prefix, with the three permissions of a delivery and no others.

    No existing object is touched, and nothing is left behind. With `leaving="an object"` the check sends the requests
    of a delivery too, and leaves one small object under a random key.

    - `platform`: a saved platform's name, with which the result is recorded, or a `Platform`.
    - `target`: a prefix, by default the platform's own.

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
