"""The multipart uploads of this process, and which of them may be objects: those must never be aborted.

    begun ──Complete sent──► may be an object ──refused for certain──► begun
                             may be an object ──answered──► it is one, and no other upload of its key is

A store may make the object visible and forget the upload later, or, after a crash, never. An Abort then succeeds, and
the store collects the parts of the visible object. No answer tells such a store from another.
"""

from __future__ import annotations

from typing import TypeAlias

Place: TypeAlias = tuple[str, str, str]

_begun: set[str] = set()
_completing: dict[str, Place] = {}


def begin(upload_id: str) -> None:
    """Note an upload that this process began: what becomes of it is known here."""
    _begun.add(upload_id)


def complete(upload_id: str, place: Place) -> bool:
    """Note, before a Complete is sent, that the upload may be an object; return True for its first Complete."""
    is_first = upload_id not in _completing
    _completing[upload_id] = place
    return is_first


def refuse(upload_id: str) -> None:
    """Note that the only Complete of an upload was refused for certain."""
    _completing.pop(upload_id, None)


def publish(place: Place) -> None:
    """Note that the store has answered a Complete for this endpoint, bucket and key: it is settled what is there."""
    for upload_id in [one for one, other in _completing.copy().items() if other == place]:
        _completing.pop(upload_id, None)
        _begun.discard(upload_id)


def forget(upload_id: str) -> None:
    """Forget an upload that was aborted."""
    _begun.discard(upload_id)


def may_show(upload_id: str) -> bool:
    """Return True if a Complete was sent, and neither refused for certain nor answered."""
    return upload_id in _completing


def is_known(upload_id: str) -> bool:
    """Return True if this process began the upload, so that `may_show` is all there is to know."""
    return upload_id in _begun
