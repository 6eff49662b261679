"""What a promise of a delivery comes to at a store that does not keep its part of it, in sentences for its user."""

from __future__ import annotations

from typing import Final

# By what is not kept: the condition of a request, the sums of bodies, or ETags that can be computed.
UNKEPT: Final = {
    "condition": (
        "The promise that no existing object is replaced has a gap at this store: it does not keep If-None-Match. "
        "mc_sink lists each key right before the request, so only an object that another writer puts there between "
        "the two is replaced. Let no other writer use the prefix, or deliver under new names (the default under a "
        "prefix)."
    ),
    "sums": (
        "The promise that the object has the bytes that were sent rests on less at this store: it does not compare a "
        "body with its checksum. mc_sink signs bodies or compares ETags, and the receipt counts the files that nothing "
        'proves ("unproven").'
    ),
    "etags": (
        "The promise that a lost reply is settled by evidence rests on less at this store: the ETags of its uploads "
        "can't be computed. Files are compared by size and by the ETag that the store showed. A lost reply may end in "
        "CommitUnknown, which a rerun with the same run_id settles."
    ),
}
