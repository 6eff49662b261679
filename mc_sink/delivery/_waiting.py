"""What this process has staged and neither published nor discarded yet: another part must not have the same names."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.staged import Staged

_lock = threading.Lock()
# Weak: what is let go of can't be published from here any more, and is staged again by a retry.
_waiting: dict[int, weakref.ref[Staged]] = {}


def wait_to_publish(staged: Staged) -> None:
    """Remember what was staged until it is published, discarded or let go of."""
    key = id(staged)
    with _lock:
        _waiting[key] = weakref.ref(staged, lambda _: _waiting.pop(key, None))


def no_longer_waiting(staged: Sequence[Staged]) -> None:
    """Forget what is being published or discarded."""
    for part in staged:
        _waiting.pop(id(part), None)


def waiting_at(run_id: str, target: str) -> frozenset[str]:
    """Return the URLs of all files that wait for one run."""
    with _lock:
        parts = [part for reference in _waiting.copy().values() if (part := reference())]
    same = [part for part in parts if (part.run_id, part.target) == (run_id, target)]
    return frozenset(file.path for part in same for file in part.all_files)
