"""Publish, discard, recover, verify: the only room that makes anything visible.

staged ──► noted in a journal ──► file, file, … ──► manifest ──► struck out ──► receipt
staged ──discard──► gone
"""

from mc_sink.delivery._discard import discard, discard_with
from mc_sink.delivery._leftovers import raise_stale
from mc_sink.delivery._publish import publish, publish_with
from mc_sink.delivery._recover import recover
from mc_sink.delivery._verify import verify
from mc_sink.delivery._waiting import wait_to_publish, waiting_at

__all__ = [
    "discard",
    "discard_with",
    "publish",
    "publish_with",
    "raise_stale",
    "recover",
    "verify",
    "wait_to_publish",
    "waiting_at",
]
