"""Platforms: credentials that are saved under a name, checked, and used by deliveries; and the policies for them.

    platforms.save(Platform(name="acme", access_key_id=…, secret_access_key=…, region="eu-west-1"))
    platforms.check("acme", "s3://bucket/prefix/").status

Secrets are in the keyring of the operating system or in a file that only its owner can read. All other fields are in a
file beside the journals. The import loads neither the keyring nor other large libraries, and what only a person at work
on a platform needs loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mc_sink._lazy import attributes
from mc_sink.platforms.platform import Checked, Platform, Status
from mc_sink.platforms.saved import Listed, describe, list_platforms, load, remove, save

# For the other folders of the package; users call what `__all__` lists.
from mc_sink.platforms.saved import exported as exported
from mc_sink.platforms.saved import memory_of as memory_of
from mc_sink.platforms.saved import refuse_unsaved as refuse_unsaved
from mc_sink.platforms.saved import stores_for as stores_for

if TYPE_CHECKING:
    from mc_sink.platforms.check_report import CheckReport, CheckRow
    from mc_sink.platforms.configuring import check, configure
    from mc_sink.platforms.policies import ArchiveClass, bucket_policy, lifecycle, new_external_id, policy, trust

__all__ = [
    "ArchiveClass",
    "CheckReport",
    "CheckRow",
    "Checked",
    "Listed",
    "Platform",
    "Status",
    "bucket_policy",
    "check",
    "configure",
    "describe",
    "lifecycle",
    "list",
    "load",
    "new_external_id",
    "policy",
    "remove",
    "save",
    "trust",
]


def __dir__() -> tuple[str, ...]:
    return (*__all__,)


if not TYPE_CHECKING:  # or a type checker would accept every name
    __getattr__ = attributes(
        {
            "platforms.check_report": "CheckReport CheckRow",
            "platforms.configuring": "check configure",
            "platforms.policies": "ArchiveClass bucket_policy lifecycle new_external_id policy trust",
        },
        __name__,
    )

list = list_platforms  # noqa: A001  users call `platforms.list()`
