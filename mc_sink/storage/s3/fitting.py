"""Fit a request to what its store takes: by what was learnt of it, or by its refusal.

    the store refuses                          the request is sent again
    the checksum (Create, Put)                 with the next one that may be sent; see `sums.py` for their order
    the checksum of the whole (Complete)       without it
    the size of the object (Complete)          without it
    If-None-Match (Put, Complete)              without it, right after a listing of exactly that key

A refusal that names other checksums, as those that the store takes, moves these to the front. Only a refusal that is
certain counts: 501, or 400 that names the header. A 501 that names none is answered with each of these in turn, and
then with two of them together. What made the difference is remembered, and never asked again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from mc_sink.storage.s3.refusals import asks_for_equal_parts
from mc_sink.storage.s3.sent_options import named_options, names_an_option
from mc_sink.storage.s3.sums import PROOFS, SUMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from mc_sink.staged import Sums
    from mc_sink.storage.s3.failures import RequestFailed
    from mc_sink.storage.s3.retry_rules import Operation
    from mc_sink.storage.s3.store_ways import StoreWays

CONDITION: Final = frozenset({"IfNoneMatch"})
_SIZE: Final = frozenset({"MpuObjectSize"})
_OF_CREATE: Final = frozenset({"ChecksumAlgorithm", "ChecksumType"})
_OF_WHOLE: Final = frozenset({*PROOFS, "ChecksumType"})
_CRC32: Final = "ChecksumCRC32"
_BLAMING: Final = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
# A checksum that isn't that of the body is no checksum that the store doesn't know.
_MISMATCH: Final = re.compile(r"(?<!none-)\b(?:mis)?match|\bdiffer|\bcorrupt|\bincorrect|\bwrong", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a request goes: with which checksum, if it is to have one, and without which parameters."""

    sums: Sums = "full"
    left_out: frozenset[str] = frozenset()


def known(operation: Operation, ways: StoreWays, sums: Sums) -> Fit:
    """Return how a request goes to a store of which so much is known.

    A part and the sum of a Complete are as their upload was created.
    """
    left_out = CONDITION if ways.condition(operation) == "refused" else frozenset()
    if operation == "complete_multipart_upload":
        left_out |= _SIZE if ways.takes_object_size is False else frozenset()
        left_out |= _OF_WHOLE if ways.takes_whole_sums is False else frozenset()
    return Fit(sums, left_out)


def fitted(operation: Operation, wanted: Mapping[str, Any], fit: Fit) -> dict[str, Any]:
    """Return the parameters of a request; `wanted` has the CRC32 where there is to be a checksum."""
    sent = {name: value for name, value in wanted.items() if name not in fit.left_out}
    chosen = SUMS.get(fit.sums)
    if operation == "create_multipart_upload" and sent.keys() & _OF_CREATE:
        sent = {name: value for name, value in sent.items() if name not in _OF_CREATE}
        return sent | (chosen.of_create if chosen else {})
    if operation != "put_object" or _CRC32 not in sent or (chosen and chosen.parameter == _CRC32):
        return sent
    del sent[_CRC32]
    return sent | ({chosen.parameter: chosen.of([memoryview(sent["Body"])])} if chosen else {})


class Refitting:
    """The ways in which one request may go, one after the other, as its refusals suggest.

    `wanted` are its parameters as it was to be, `allowed` the checksums that may be sent, the best first, and `first`
    how it goes at first.
    """

    def __init__(self, operation: Operation, wanted: AbstractSet[str], allowed: Sequence[Sums], first: Fit) -> None:
        self._operation, self._wanted, self._allowed = operation, wanted, allowed
        self._tried, self._open, self._go_on = [first], iter(tuple[Fit]()), False

    def after(self, failed: RequestFailed) -> Fit | None:
        """Return how the request may go after this refusal of its last fit; None where nothing is left.

        Refusals that name nothing are answered by changes of the same fit, one at a time: which one it was is not known
        until one of them makes the difference.
        """
        if not _is_refusal(failed):
            return None
        named = frozenset[str]().union(*(option.parameters for option in named_options(failed)))
        if named or not self._go_on:
            self._open = self._others(failed, self._tried[-1], named)
        self._go_on = not named
        fit = next((fit for fit in self._open if fit not in self._tried), None)
        self._tried += [fit] if fit else []
        return fit

    def _others(self, failed: RequestFailed, fit: Fit, named: AbstractSet[str]) -> Iterator[Fit]:
        """Yield how else a request may go that was refused with this fit, in the order in which to do so."""
        sums = _other_sums(failed, self._operation, self._wanted, fit, self._allowed)
        leaner = [(one, replace(fit, left_out=fit.left_out | one)) for one in (CONDITION, _SIZE) if one <= self._wanted]
        if named:
            yield from sums if named & (_OF_CREATE | _OF_WHOLE) else ()
            yield from (other for one, other in leaner if one & named)
        elif failed.is_unsupported:
            others = [other for _, other in leaner]
            yield from (*sums[:1], *others, *sums[1:])
            yield from (replace(one, left_out=one.left_out | other.left_out) for one in sums for other in others)
            yield from (replace(one, left_out=one.left_out | other.left_out) for one, other in combinations(others, 2))


def _other_sums(
    failed: RequestFailed, operation: Operation, wanted: AbstractSet[str], fit: Fit, allowed: Sequence[Sums]
) -> list[Fit]:
    """Return how a request may go with another checksum than it had, or with none."""
    if operation == "complete_multipart_upload":
        return [replace(fit, left_out=fit.left_out | _OF_WHOLE)] if wanted & PROOFS.keys() else []
    summed = {"create_multipart_upload": _OF_CREATE, "put_object": frozenset({_CRC32})}.get(operation, frozenset())
    if fit.sums not in allowed or not wanted & summed:
        return []
    others = [one for one in allowed[allowed.index(fit.sums) + 1 :] if operation != "put_object" or one != "composite"]
    return [replace(fit, sums=one) for one in sorted(others, key=lambda one: not _is_named(one, failed, fit))]


def _is_named(sums: Sums, failed: RequestFailed, fit: Fit) -> bool:
    """Return True if a refusal names another algorithm than the one that was sent: as one that would be taken."""
    if sums == "none" or (fit.sums != "none" and SUMS[sums].algorithm == SUMS[fit.sums].algorithm):
        return False
    return SUMS[sums].algorithm in failed.message.upper().replace("-", "")


def better_told(first: RequestFailed, last: RequestFailed) -> RequestFailed:
    """Return the refusal to report after several: the last one, unless it is the first one once more."""
    return first if _is_refusal(last) and not names_an_option(last) else last


def learn(operation: Operation, before: Fit, fit: Fit, ways: StoreWays) -> None:
    """Note what the store doesn't take, after it has refused a request as it went `before`, and taken it as `fit`."""
    if fit.left_out >= CONDITION:
        ways.learn_condition(operation, "refused")
    if fit.sums != before.sums:
        ways.sums = fit.sums
    if operation == "complete_multipart_upload" and fit.left_out != before.left_out:
        ways.takes_object_size = False if fit.left_out >= _SIZE else ways.takes_object_size
        ways.takes_whole_sums = False if fit.left_out >= _OF_WHOLE else ways.takes_whole_sums


def learn_from_refusal(failed: RequestFailed, ways: StoreWays, allowed: Sequence[Sums]) -> None:
    """Note what a refusal shows that ends a request, so that the next delivery goes otherwise.

    That is a condition that the store keeps, a wish for parts of one size, or a checksum that it refuses of a part
    although it has created the upload with it.
    """
    if failed.code == "PreconditionFailed" and failed.sent >= CONDITION:
        ways.learn_condition(failed.operation, "kept")
    if asks_for_equal_parts(failed):
        ways.equal_parts = True
    sent = SUMS.get(ways.sums)
    if failed.operation == "upload_part" and sent and ways.sums in allowed and _blames(failed, sent.parameter):
        after = allowed[allowed.index(ways.sums) + 1 :]
        ways.sums = next((one for one in after if one == "none" or SUMS[one].parameter != sent.parameter), ways.sums)


def _blames(failed: RequestFailed, parameter: str) -> bool:
    """Return True if a request was refused for this parameter, as far as the store says it."""
    if parameter not in failed.sent or not _is_refusal(failed):
        return False
    return any(parameter in option.parameters for option in named_options(failed)) or failed.is_unsupported


def _is_refusal(failed: RequestFailed) -> bool:
    """Return True if the store has refused a request for what is in it, and so has certainly not done it."""
    if failed.status is None or _MISMATCH.search(failed.message):
        return False
    return failed.is_unsupported or failed.code in _BLAMING
