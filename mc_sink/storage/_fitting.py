"""Leave out of a request what its store doesn't take: by what was learnt of it, or by its refusal.

    the store refuses                          the request is sent again
    the type FULL_OBJECT (Create, Complete)    with the composite checksum: each part's, and none of the whole
    the checksum (Create, Put)                 without one; its bodies are signed with their SHA-256 then
    If-None-Match (Put, Complete)              without it, right after a listing of exactly that key

Only a refusal that is certain counts: 501, or 400 that names the header. A 501 that names none is answered with each of
these in turn, and then with two of them together. What made the difference is remembered, and never asked again.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Final

from mc_sink.storage._reasons import wants_equal_parts
from mc_sink.storage._sent_options import named_options, names_an_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from mc_sink.storage._failures import RequestFailed
    from mc_sink.storage._retries import Operation
    from mc_sink.storage._ways import StoreWays

CONDITION: Final = frozenset({"IfNoneMatch"})
_TYPE: Final = frozenset({"ChecksumType"})
_ALGORITHM: Final = _TYPE | {"ChecksumAlgorithm"}
_SUM: Final = frozenset({"ChecksumCRC32"})
# What may be left out of each request, the least first.
_STEPS: Final[Mapping[Operation, tuple[frozenset[str], ...]]] = {
    "create_multipart_upload": (_TYPE, _ALGORITHM),
    "put_object": (_SUM, CONDITION),
    "complete_multipart_upload": (_SUM | _TYPE, CONDITION),
}
_BLAMING: Final = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
# A checksum that isn't that of the body is no checksum that the store doesn't know.
_MISMATCH: Final = re.compile(r"(?<!none-)\b(?:mis)?match|\bdiffer|\bcorrupt|\bincorrect|\bwrong", re.IGNORECASE)


def known(operation: Operation, ways: StoreWays) -> frozenset[str]:
    """Return the parameters that the store is known not to take.

    A part and the sum of a Complete are as their upload was created.
    """
    left_out = CONDITION if ways.condition(operation) == "refused" else frozenset()
    if operation == "create_multipart_upload":
        return left_out | {"full": frozenset(), "composite": _TYPE, "none": _ALGORITHM}[ways.sums]
    return left_out | _SUM if operation == "put_object" and ways.sums == "none" else left_out


def slimmer(
    failed: RequestFailed, operation: Operation, sent: AbstractSet[str], left_out: frozenset[str]
) -> Iterator[frozenset[str]]:
    """Yield what else may be left out after a refusal, in the order in which to do so.

    `sent` are the parameters of the request as it was to be, `left_out` those that the refused one went without.
    """
    if not _is_refusal(failed):
        return
    steps = [step for step in _STEPS.get(operation, ()) if step <= sent]
    if named := named_options(failed):
        blamed = frozenset[str]().union(*(option.parameters for option in named))
        yield from (left_out | step for step in steps if step & blamed)
    elif failed.is_unsupported:
        yield from steps
        yield from (one | other for one, other in combinations(steps, 2))


def better_told(first: RequestFailed, last: RequestFailed) -> RequestFailed:
    """Return the refusal to report after several: the last one, unless it is the first one once more."""
    return first if _is_refusal(last) and not names_an_option(last) else last


def learn(operation: Operation, left_out: frozenset[str], ways: StoreWays) -> None:
    """Note what the store doesn't take, after it has taken the request without it."""
    if left_out >= CONDITION:
        ways.learn_condition(operation, "refused")
    if left_out >= _ALGORITHM or (operation == "put_object" and left_out >= _SUM):
        ways.sums = "none"
    elif left_out >= _TYPE and ways.sums == "full":
        ways.sums = "composite"


def learn_from_refusal(failed: RequestFailed, ways: StoreWays) -> None:
    """Note that the store keeps a condition, or wants parts of one size, where its refusal says so."""
    if failed.code == "PreconditionFailed" and failed.sent >= CONDITION:
        ways.learn_condition(failed.operation, "kept")
    if wants_equal_parts(failed):
        ways.equal_parts = True


def _is_refusal(failed: RequestFailed) -> bool:
    """Return True if the store has refused a request for what is in it, and so has certainly not done it."""
    if failed.status is None or _MISMATCH.search(failed.message):
        return False
    return failed.is_unsupported or failed.code in _BLAMING
