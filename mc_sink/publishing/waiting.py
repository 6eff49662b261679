"""What this process has staged and not yet published or discarded, so that parts of one run never share a file."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.staged import Staged

_lock = threading.Lock()
# Weak references: a `Staged` that its owner dropped can't be published from here, and a retry stages it again.
_waiting: dict[int, weakref.ref[Staged]] = {}


def wait_to_publish(staged: Staged) -> None:
    """Remember what was staged until it is published, discarded or dropped."""
    key = id(staged)
    with _lock:
        _waiting[key] = weakref.ref(staged, lambda _: _waiting.pop(key, None))


def forget_waiting(staged: Sequence[Staged]) -> None:
    """Drop what was published or discarded."""
    for part in staged:
        _waiting.pop(id(part), None)


def waiting_at(run_id: str, target: str) -> frozenset[str]:
    """Return the URLs of all files that this process has staged for one run and not yet published or discarded."""
    with _lock:
        parts = [part for reference in _waiting.copy().values() if (part := reference())]
    same = [part for part in parts if (part.run_id, part.target) == (run_id, target)]
    return frozenset(file.path for part in same for file in part.all_files)
