"""Publish, discard, recover and verify. Nothing outside this folder makes anything visible.

staged ──► journal written ──► file, file, … ──► manifest ──► marker ──► journal removed ──► receipt
staged ──discard──► gone
"""

from mc_sink.publishing import hidden_files, journal, verification
from mc_sink.publishing.journal import Journal, list_journals
from mc_sink.publishing.lost_uploads import abort_lost, upload_ids
from mc_sink.publishing.preconditions import raise_stale
from mc_sink.publishing.publication import discard, discard_with, publish, publish_with
from mc_sink.publishing.recovery import recover, recover_unrecorded
from mc_sink.publishing.verification import verify
from mc_sink.publishing.waiting import wait_to_publish, waiting_at

__all__ = [
    "Journal",
    "abort_lost",
    "discard",
    "discard_with",
    "hidden_files",
    "journal",
    "list_journals",
    "publish",
    "publish_with",
    "raise_stale",
    "recover",
    "recover_unrecorded",
    "upload_ids",
    "verification",
    "verify",
    "wait_to_publish",
    "waiting_at",
]
