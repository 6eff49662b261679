"""Platforms: credentials saved once under a name and used everywhere, checked, and the policies that go with them.

    platforms.save(Platform(name="acme", access_key_id=…, secret_access_key=…, region="eu-west-1"))
    platforms.check("acme", "s3://bucket/prefix/").status

Secrets are in the keyring of the operating system or in a file for its owner alone; everything else is in a file beside
the journals. Loading this loads neither the keyring nor anything else that is heavy.
"""

from __future__ import annotations

from mc_sink.platforms.check_report import CheckReport, CheckRow
from mc_sink.platforms.checking import check
from mc_sink.platforms.configuring import configure
from mc_sink.platforms.platform import Checked, Platform, Status
from mc_sink.platforms.policies import ArchiveClass, bucket_policy, lifecycle, new_external_id, policy, trust
from mc_sink.platforms.saved import (
    Listed,
    describe,
    exported,
    list_platforms,
    load,
    memory_of,
    refuse_unsaved,
    remove,
    save,
    stores_for,
)

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
    "exported",
    "lifecycle",
    "list",
    "list_platforms",
    "load",
    "memory_of",
    "new_external_id",
    "policy",
    "refuse_unsaved",
    "remove",
    "save",
    "stores_for",
    "trust",
]

list = list_platforms  # noqa: A001  `platforms.list()` is what one would write
