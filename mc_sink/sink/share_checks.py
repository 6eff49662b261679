"""Check the shares of a run together, before anything is visible: what no share by itself can show."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError, SinkError, ValidationError, add_note
from mc_sink.validation import Tolerance, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.sink.share import Share

_SHOWN = 5
_DISCARD = "Nothing was published: Delivery.discard(shares) removes what is staged."


def check_complete(shares: Iterable[Share], num_shares: int, delivery: str) -> list[Share]:
    """Return the shares in order. Raises `ConfigurationError` unless each number of this delivery is there once."""
    found = list(shares)
    if foreign := [share for share in found if share.delivery != delivery]:
        raise ConfigurationError(
            f"{counted(len(foreign), 'share', 'belong')} to another delivery, such as share {foreign[0].number}. Pass "
            f"the shares that this Delivery staged. {_DISCARD}"
        )
    times = Counter(share.number for share in found)
    if twice := sorted(number for number, often in times.items() if often > 1):
        raise ConfigurationError(
            f"Share {twice[0]} was given {times[twice[0]]} times. Pass each share once, of the attempt that the "
            f"scheduler counts. {_DISCARD}"
        )
    if num_shares < 1:
        raise ConfigurationError(f"num_shares={num_shares} is too small. A delivery has at least 1 share.")
    if missing := [number for number in range(num_shares) if number not in times]:
        raise ConfigurationError(
            f"{counted(len(missing), 'share')} of {num_shares} {'is' if len(missing) == 1 else 'are'} missing: "
            f"{_listed(missing)}. Stage every share, also one without rows. {_DISCARD}"
        )
    if odd := sorted(set(times) - set(range(num_shares))):
        raise ConfigurationError(
            f"Share {odd[0]} is not one of num_shares={num_shares}, which are numbered from 0. {_DISCARD}"
        )
    return sorted(found, key=lambda share: share.number)


def check_verdicts(shares: Sequence[Share]) -> None:
    """Raise the failures of the shares as one: the reports of all invalid ones merged, or else the first error."""
    failed = [(share.number, share.failure) for share in shares if share.failure is not None]
    if not failed:
        return
    reports = [(number, error) for number, error in failed if isinstance(error, ValidationError)]
    others = [(number, error) for number, error in failed if not isinstance(error, ValidationError)]
    raised: SinkError = merged(reports) if reports else others[0][1]
    alike = Counter(error.message for _, error in others)
    for message, often in alike.most_common(_SHOWN):
        if reports or message != raised.message or often > 1:
            numbers = [number for number, error in others if error.message == message]
            add_note(raised, f"share {_listed(numbers)}: {message}")
    raise raised


def check_rows(shares: Sequence[Share], spec: DeliverySpec) -> None:
    """Raise `ValidationError` for too many rejected rows, or too few others, of all shares together."""
    num_rows, num_rejected = (sum(share.num_rows for share in shares), sum(share.num_rejected for share in shares))
    reports = [(share.number, share.rejected) for share in shares if isinstance(share.rejected, ValidationError)]
    if Tolerance(spec.on_invalid, spec.max_rejects).exceeded_in_total(num_rejected, num_rows):
        allowed = f"max_rejects={spec.max_rejects!r}"
        raise merged(
            reports, advice=f"{num_rejected:,} of {num_rows:,} rows were rejected, more than {allowed} allows."
        )
    if num_rejected and num_rejected == num_rows:
        raise merged(reports, advice="Every row was rejected. Nothing is left to deliver.")
    left = num_rows - num_rejected
    if spec.min_rows is not None and left < spec.min_rows:
        raise ValidationError(
            f"Only {counted(left, 'row')} can be delivered, fewer than min_rows={spec.min_rows}. Look at the source. "
            "If so few rows are right, lower min_rows=."
        )
    if not left and spec.on_empty == "fail":
        raise ValidationError(
            f'Cannot deliver to {spec.target.url}: no share has a row, and on_empty is "fail". Look at the source, or '
            'use "skip" to write no file, or "deliver" to write a file with a header only.'
        )


def check_disjoint(shares: Sequence[Share], keys: Sequence[str]) -> None:
    """Raise `ConfigurationError` unless the buckets of the shares' keys are disjoint.

    Keys are unique within each share. Equal keys have one bucket, and so lie in one share if the buckets are disjoint.
    """
    if not keys:
        return
    seen = [0] * len(shares)
    taken = 0
    for place, share in enumerate(shares):
        if share.buckets is None:
            raise ConfigurationError(
                f"Share {share.number} doesn't show which keys it holds, so it isn't proven that {', '.join(keys)} is "
                f"unique over all shares. Stage it with the schema's checks switched on. {_DISCARD}"
            )
        seen[place] = int.from_bytes(share.buckets, "little")
        if taken & seen[place]:
            other = next(one for one in range(place) if seen[one] & seen[place])
            raise ConfigurationError(
                f"Shares {shares[other].number} and {share.number} both hold keys of one bucket, so it isn't proven "
                f"that {', '.join(keys)} is unique over all shares. Divide the rows by Delivery.buckets, so that each "
                f"bucket is in one share. {_DISCARD}"
            )
        taken |= seen[place]


def _listed(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else ""
    return ", ".join(f"{number:,}" for number in numbers[:_SHOWN]) + more
