"""The behaviour of one store, learnt from its replies, and how requests are adapted to it.

    the store refuses                          the request is sent again
    the checksum (Create, Put)                 with the next one that may be sent; `checksums.py` has their order
    the checksum of the whole (Complete)       without it
    the size of the object (Complete)          without it
    If-None-Match (Put, Complete)              without it, right after a listing of exactly that key

A refusal that names other checksums, as those that the store takes, moves these to the front. Only a certain refusal
counts: a 501, or a 400 that names the header. A 501 that names none is answered with each of these changes in turn,
and then with two of them together. The change that made the difference is remembered. No request is sent only to
learn: each fact comes from the first reply that shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, get_args

from mc_sink.staged import Sums
from mc_sink.storage.s3.checksums import PROOFS, SUMS
from mc_sink.storage.s3.refusals import asks_for_equal_parts, is_mismatch, named_options, names_algorithm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from mc_sink.storage.s3.failures import RequestFailed
    from mc_sink.storage.s3.retry_rules import Operation

Condition: TypeAlias = Literal["kept", "refused", "ignored"]
_CONDITIONS: Final = ("kept", "refused", "ignored")
# The facts that are words, with their values; all others are booleans.
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "sums": get_args(Sums),
    "condition_on_put": _CONDITIONS,
    "condition_on_complete": _CONDITIONS,
}
CONDITION: Final = frozenset({"IfNoneMatch"})
_SIZE: Final = frozenset({"MpuObjectSize"})
_OF_CREATE: Final = frozenset({"ChecksumAlgorithm", "ChecksumType"})
_OF_WHOLE: Final = frozenset({*PROOFS, "ChecksumType"})
_CRC32: Final = "ChecksumCRC32"
_BLAMING: Final = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
# By what the store does not keep: the condition of a request, the checksums of bodies, or ETags that can be computed.
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


@dataclass(slots=True, eq=False)
class StoreSupport:
    """The known facts of one store; None means not seen yet. Threads share it: a fact is set in one assignment.

    - `checks_sums`: it echoes the checksum of a body, and so has checked it.
    - `checks_signed_bodies`: it is documented to compare a signed body with its SHA-256.
    - `has_md5_etags`: the ETag of a body is its MD5, as long as no KMS key is used.
    - `has_s3_etags`: the ETag of a multipart object is the MD5 of its parts' ETags, with their number.
    - `lists_what_it_answers`: a listing shows the ETag that Complete answered.
    - `sums`: the best checksum that it takes; see `checksums.py`.
    - `condition_on_put`, `condition_on_complete`: "kept": it has refused a key that was taken. "refused": it refuses
      the header `If-None-Match`. "ignored": it reads past the header, which only a trial at a key of our own shows.
    - `equal_parts`: it takes only uploads whose parts, except the last, are of one size.
    - `takes_object_size`, `takes_whole_sums`: it takes the size, and the checksum of the whole object, with a Complete.
    - `took_object`, `took_upload`: it has taken a delivery's Put, or its Create, parts and Complete.
    """

    checks_sums: bool | None = None
    checks_signed_bodies: bool | None = None
    has_md5_etags: bool | None = None
    has_s3_etags: bool | None = None
    lists_what_it_answers: bool | None = None
    sums: Sums = "full"
    condition_on_put: Condition | None = None
    condition_on_complete: Condition | None = None
    equal_parts: bool | None = None
    takes_object_size: bool | None = None
    takes_whole_sums: bool | None = None
    took_object: bool | None = None
    took_upload: bool | None = None

    @classmethod
    def of_aws(cls) -> StoreSupport:
        """Return the facts that AWS documents of S3. The ETags depend on the bucket's encryption."""
        return cls(
            checks_sums=True,
            checks_signed_bodies=True,
            lists_what_it_answers=True,
            condition_on_put="kept",
            condition_on_complete="kept",
            equal_parts=False,
        )

    def condition(self, operation: str) -> Condition | None:
        """Return whether the store keeps the condition of this operation, as far as it is known."""
        if operation == "put_object":
            return self.condition_on_put
        return self.condition_on_complete if operation == "complete_multipart_upload" else None

    def facts(self) -> dict[str, str | bool]:
        """Return the known facts as plain values by name, to be saved."""
        known = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in known if value is not None}

    def recall(self, facts: Mapping[str, object]) -> None:
        """Adopt saved facts; those that this version doesn't know are ignored."""
        for one in fields(self):
            value = facts.get(one.name)
            if value in _WORDS[one.name] if one.name in _WORDS else isinstance(value, bool):
                setattr(self, one.name, value)

    def learn_taken(self, operation: str) -> None:
        """Note that the store has taken this request of a delivery."""
        if operation == "put_object":
            self.took_object = True
        else:
            self.took_upload = True

    def unkept(self) -> tuple[str, ...]:
        """Return a sentence for each promise that rests on less at this store."""
        conditions = {self.condition_on_put, self.condition_on_complete}
        lacking = {
            "condition": bool(conditions & {"refused", "ignored"}),
            "sums": self.checks_sums is False or self.sums == "none",
            "etags": self.has_s3_etags is False or self.lists_what_it_answers is False,
        }
        return tuple(UNKEPT[name] for name, is_lacking in lacking.items() if is_lacking)

    def learn_condition(self, operation: str, seen: Condition) -> None:
        """Note whether the store keeps the condition of this operation, as a reply has shown."""
        if operation == "put_object":
            self.condition_on_put = seen
        else:
            self.condition_on_complete = seen


class SupportMemory(Protocol):
    """Saves the facts of stores from one process to the next, by endpoint and bucket. Its methods never raise."""

    def recall(self, endpoint: str, bucket: str) -> Mapping[str, object]:
        """Return the facts of a bucket; empty where none are saved."""

    def keep(self, endpoint: str, bucket: str, facts: Mapping[str, str | bool]) -> None:
        """Save the facts of a bucket."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a request is sent: with which checksum, if it carries one, and without which parameters."""

    sums: Sums = "full"
    left_out: frozenset[str] = frozenset()


def known_fit(operation: Operation, support: StoreSupport, sums: Sums) -> Fit:
    """Return how to send a request to a store with this known support.

    A part and the checksum of a Complete follow the Create of their upload.
    """
    left_out = CONDITION if support.condition(operation) == "refused" else frozenset()
    if operation == "complete_multipart_upload":
        left_out |= _SIZE if support.takes_object_size is False else frozenset()
        left_out |= _OF_WHOLE if support.takes_whole_sums is False else frozenset()
    return Fit(sums, left_out)


def fitted(operation: Operation, wanted: Mapping[str, Any], fit: Fit) -> dict[str, Any]:
    """Return the parameters to send; `wanted` has the CRC32 if the request is to carry a checksum."""
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
    """The changes to try on one request, one after the other, as its refusals suggest.

    - `wanted`: its parameters before any change.
    - `allowed`: the checksums that may be sent, the best first.
    - `first`: how it is sent at first.
    """

    def __init__(self, operation: Operation, wanted: AbstractSet[str], allowed: Sequence[Sums], first: Fit) -> None:
        self._operation, self._wanted, self._allowed = operation, wanted, allowed
        self._tried, self._open, self._go_on = [first], iter(tuple[Fit]()), False

    def after(self, failed: RequestFailed) -> Fit | None:
        """Return how to send the request after this refusal of its last fit; None where nothing is left.

        A refusal that names nothing is answered by changes of the same fit, one at a time, until one of them makes the
        difference.
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
        """Yield the changes to try on a request that was refused with this fit, in order."""
        sums = self._other_sums(failed, fit)
        leaner = [(one, replace(fit, left_out=fit.left_out | one)) for one in (CONDITION, _SIZE) if one <= self._wanted]
        if named:
            yield from sums if named & (_OF_CREATE | _OF_WHOLE) else ()
            yield from (other for one, other in leaner if one & named)
        elif failed.is_unsupported:
            others = [other for _, other in leaner]
            yield from (*sums[:1], *others, *sums[1:])
            yield from (replace(one, left_out=one.left_out | other.left_out) for one in sums for other in others)
            yield from (replace(one, left_out=one.left_out | other.left_out) for one, other in combinations(others, 2))

    def _other_sums(self, failed: RequestFailed, fit: Fit) -> list[Fit]:
        """Return the changes that replace the checksum of a request, or remove it.

        First come those that the refusal names: the store would take them.
        """
        is_put, allowed = self._operation == "put_object", self._allowed
        if self._operation == "complete_multipart_upload":
            return [replace(fit, left_out=fit.left_out | _OF_WHOLE)] if self._wanted & PROOFS.keys() else []
        summed = {"create_multipart_upload": _OF_CREATE, "put_object": frozenset({_CRC32})}.get(self._operation)
        if fit.sums not in allowed or not (summed and self._wanted & summed):
            return []
        sent = SUMS[fit.sums].algorithm if fit.sums != "none" else None

        def is_named(sums: Sums) -> bool:
            return sums != "none" and SUMS[sums].algorithm != sent and names_algorithm(failed, SUMS[sums].algorithm)

        others = [one for one in allowed[allowed.index(fit.sums) + 1 :] if not is_put or one != "composite"]
        return [replace(fit, sums=one) for one in sorted(others, key=is_named, reverse=True)]


def refusal_to_report(first: RequestFailed, last: RequestFailed) -> RequestFailed:
    """Return the refusal to report after several: the first one, unless the last one names an option."""
    return first if _is_refusal(last) and not named_options(last) else last


def learn_from_success(operation: Operation, before: Fit, fit: Fit, support: StoreSupport) -> None:
    """Note what the store doesn't take, after it refused a request sent as `before` and took it sent as `fit`."""
    if fit.left_out >= CONDITION:
        support.learn_condition(operation, "refused")
    if fit.sums != before.sums:
        support.sums = fit.sums
    if operation == "complete_multipart_upload" and fit.left_out != before.left_out:
        support.takes_object_size = False if fit.left_out >= _SIZE else support.takes_object_size
        support.takes_whole_sums = False if fit.left_out >= _OF_WHOLE else support.takes_whole_sums


def learn_from_refusal(failed: RequestFailed, support: StoreSupport, allowed: Sequence[Sums]) -> None:
    """Note what a refusal shows that ends a request, so that the next delivery is sent in another way.

    That is a condition that the store keeps, a demand for parts of one size, or a checksum that the store refuses of a
    part although it has created the upload with it.
    """
    if failed.code == "PreconditionFailed" and failed.sent >= CONDITION:
        support.learn_condition(failed.operation, "kept")
    if asks_for_equal_parts(failed):
        support.equal_parts = True
    sent = SUMS.get(support.sums)
    if failed.operation != "upload_part" or sent is None or support.sums not in allowed or not _is_refusal(failed):
        return
    named = any(sent.parameter in option.parameters for option in named_options(failed))
    if sent.parameter in failed.sent and (named or failed.is_unsupported):
        after = allowed[allowed.index(support.sums) + 1 :]
        support.sums = next(
            (one for one in after if one == "none" or SUMS[one].parameter != sent.parameter), support.sums
        )


def _is_refusal(failed: RequestFailed) -> bool:
    """Return True if the store refused a request for one of its parameters, and so has certainly not done it."""
    if failed.status is None or is_mismatch(failed):
        return False
    return failed.is_unsupported or failed.code in _BLAMING
