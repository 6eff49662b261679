"""Platforms: credentials saved once under a name and used everywhere, checked, and the policies that go with them.

    platforms.save(Platform(name="acme", access_key_id=…, secret_access_key=…, region="eu-west-1"))
    platforms.check("acme", "s3://bucket/prefix/").status

Secrets are in the keyring of the operating system or in a file for its owner alone; everything else is in a file beside
the journals. Loading this loads neither the keyring nor anything else that is heavy.
"""

from __future__ import annotations

from mc_sink.platforms._check import check
from mc_sink.platforms._configure import configure
from mc_sink.platforms._lifecycle import ArchiveClass, lifecycle
from mc_sink.platforms._memory import memory_of
from mc_sink.platforms._platform import Checked, Platform, Status
from mc_sink.platforms._policy import bucket_policy, new_external_id, policy, trust
from mc_sink.platforms._report import CheckReport, CheckRow
from mc_sink.platforms._saved import Listed, describe, exported, list_platforms, load, refuse_unsaved, remove, save

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
    "trust",
]

list = list_platforms  # noqa: A001  `platforms.list()` is what one would write
