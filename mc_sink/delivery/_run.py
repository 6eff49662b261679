"""What one run comes to: its files in the order of publishing, and what is told where that order broke off."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mc_sink import journal
from mc_sink.exceptions import NOTHING_VISIBLE, CommitError, CommitUnknown, ConfigurationError, SinkError, add_note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.staged import Staged, StagedFile


def one_run(staged: Sequence[Staged]) -> Staged:
    """Give the first of what was staged; raises where it is not all one run's, or a file comes twice."""
    runs = {(part.run_id, part.target, part.if_exists) for part in staged}
    if len(runs) != 1:
        raise ConfigurationError(f"{len(runs)} runs were given to one publish; give what was staged for one run.")
    _check_alike(staged)
    _check_provable(staged)
    times = Counter(file.path for file in in_order(staged))
    if twice := [path for path, number in times.items() if number > 1]:
        raise ConfigurationError(
            f"{len(twice)} file(s) were given twice, from {twice[0]} on. {NOTHING_VISIBLE} Give each one once."
        )
    return staged[0]


def _check_alike(staged: Sequence[Staged]) -> None:
    """Refuse parts of which one manifest, one marker and one receipt could not tell the truth."""
    run = staged[0]
    facts: dict[str, Callable[[Staged], object]] = {
        "manifest=": lambda part: (part.manifest, part.manifest_form),
        "success_marker=": lambda part: part.success_marker,
        "previous=": lambda part: part.changes is None,
        "columns, format or schema, which one manifest describes,": lambda part: part.manifest and part.content,
    }
    if odd := [name for name, fact in facts.items() if any(fact(part) != fact(run) for part in staged)]:
        raise ConfigurationError(
            f"{len(staged)} parts were staged with different {odd[0]} and published as one run. {NOTHING_VISIBLE} "
            "Stage all of them alike."
        )


def _check_provable(staged: Sequence[Staged]) -> None:
    """Refuse, of several parts, what was checked over the rows of each part alone and holds for the run as a whole."""
    if len(staged) > 1 and (options := sorted({option for part in staged for option in part.over_all_rows})):
        raise ConfigurationError(
            f"{len(staged)} parts can't be published as one run with {', '.join(options)}: each part was checked by "
            f"itself, and rows of two parts were never compared. {NOTHING_VISIBLE} Deliver all rows in one call, or "
            "stage the parts without."
        )


def in_order(staged: Sequence[Staged]) -> list[StagedFile]:
    """Give the files in the order of publishing: all that is delivered, then what was rejected from it."""
    return [file for part in staged for file in part.files] + [
        part.rejects.file for part in staged if part.rejects and part.rejects.file
    ]


def places(staged: Sequence[Staged]) -> list[str]:
    """Give the URLs of a delivery in the order of publishing, those of what closes it last."""
    closing = (staged[0].manifest, staged[0].success_marker)
    return [file.path for file in in_order(staged)] + [url for url in closing if url]


def part_way(error: SinkError, committed: Sequence[str], staged: Sequence[Staged]) -> CommitError:
    """Say what is visible and what is not, where publishing broke off."""
    paths = places(staged)
    uncommitted = paths[len(committed) :]
    kind = CommitUnknown if isinstance(error, CommitUnknown) else CommitError
    reason = str(error).replace(NOTHING_VISIBLE, "").strip()  # true of this file, and not of the delivery
    run_id = staged[0].run_id
    if not uncommitted:
        return kind(f"{len(committed)} of {len(paths)} files are visible. {reason}", committed=committed)
    return kind(
        f"{len(committed)} of {len(paths)} files are visible, then publishing stopped at {uncommitted[0]}: {reason} "
        f'The rest is staged and invisible: mc_sink.recover("{run_id}") publishes or discards it, and so does a rerun '
        f'with run_id="{run_id}".',
        committed=committed,
        uncommitted=uncommitted,
    )


def note_what_waits(error: BaseException, staged: Sequence[Staged]) -> None:
    """Tell on an exception that ended publishing, where a journal waits, what ends it."""
    if any(map(journal.waits, staged)):
        add_note(error, f'publishing was begun: mc_sink.recover("{staged[0].run_id}") ends it.')
