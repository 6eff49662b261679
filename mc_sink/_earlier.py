"""What an earlier try of this run has published: looked for before any work, and compared with when it is done.

A run id that its caller chose may have run before, wholly or in part. Its files are never written again: they are
compared, and whatever doesn't fit is an error before anything more becomes visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink.exceptions import NOTHING_VISIBLE, AlreadyExistsError
from mc_sink.staged import Present

if TYPE_CHECKING:
    from mc_sink._order import Resolved
    from mc_sink.staged import IfExists, Staged
    from mc_sink.storage import Stores


@dataclass(frozen=True, slots=True)
class Earlier:
    """URLs of this run's files that are visible; `compared` are those that this try must find the same."""

    files: frozenset[str]
    compared: frozenset[str]
    manifest: str | None

    def check(self, staged: Staged) -> None:
        """Refuse to add to a delivery that isn't this one: files it doesn't have, or a manifest that is closed."""
        made = {file.path for file in staged.all_files}
        if strays := sorted(self.files - made):
            raise AlreadyExistsError(
                f"{len(strays)} object(s) of an earlier try of run {staged.run_id} are no part of this one, from "
                f"{strays[0]} on: data or options changed. Nothing of this try became visible. Use a new run_id."
            )
        new = [file.path for file in staged.all_files if not isinstance(file.upload, Present)]
        if self.manifest and new and staged.if_exists == "fail":
            raise AlreadyExistsError(
                f"Run {staged.run_id} has been delivered: its manifest is at {self.manifest}, and {len(new)} object(s) "
                f"of this try aren't in it, from {new[0]} on. Nothing of this try became visible. Use a new run_id."
            )


def look(to: Resolved, stores: Stores, if_exists: IfExists) -> Earlier:
    """Look for files of this run; raises where nothing can be delivered, or something else has the name."""
    names = to.names
    store = stores.of(names.target)
    files = names.of_this_run(store.listing(names.stem, exact=not names.target.is_prefix))
    if files and not to.again and if_exists == "fail":
        raise AlreadyExistsError(
            f"1 object is already at {min(files)} and stays as it was. Choose another key, a prefix (a new object each "
            f'run), or if_exists="overwrite". {NOTHING_VISIBLE}'
        )
    if not to.again:
        return Earlier(frozenset(), frozenset(), None)
    closed = to.manifest if to.manifest and store.listing(to.manifest, exact=True) else None
    if to.rejects:
        files |= stores.of(to.rejects[0]).listing(to.rejects[0], exact=True)
    return Earlier(files, files if if_exists == "fail" else frozenset(), closed.url if closed else None)
