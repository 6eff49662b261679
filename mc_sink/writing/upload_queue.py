"""Encode one file while a few others are uploaded; stage all of them or none.

    encode ──keep──► stored, several at a time ──► staged
       └────redo────► thrown away

Measured: a small file takes a millisecond to encode and two requests to store, so that a thousand of them, one after
the other, would wait for a far-away store and for nothing else.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink._runtime.engine_thread import PATIENCE_SECONDS, STEP_SECONDS, Worker
from mc_sink.exceptions import UploadError, add_note
from mc_sink.storage import Writer
from mc_sink.writing.encoding import FileEncoder, note_visibility

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from mc_sink.staged import StagedFile, Upload
    from mc_sink.storage import Store
    from mc_sink.writing.encoding import BatchGenerator
    from mc_sink.writing.plan import FilePlan

_log = logger(__name__)
# Bytes of the files that are being stored while the next is encoded: each may have this much in flight.
BYTES_AT_ONCE = 64 * 2**20


class _Nowhere:
    """Takes bytes and keeps none."""

    def write(self, data: bytes) -> None:
        pass

    def finish(self) -> Upload:
        raise UploadError("What was only measured can't be staged.")

    def stop(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _Progress:
    """Tells rows once, however often a file is made anew, and bytes on top of those of the files before."""

    def __init__(self, advance: Callable[[int, int], None]) -> None:
        self._advance = advance
        self.kept = 0
        self._told = self._kept_bytes = self._rows = 0

    def begin(self) -> None:
        self._rows = 0

    def count(self, num_rows: int, num_bytes: int) -> None:
        self._rows += num_rows
        new = max(0, self.kept + self._rows - self._told)
        self._told += new
        self._advance(new, self._kept_bytes + num_bytes)

    def keep(self, num_rows: int, num_bytes: int) -> None:
        self.kept += num_rows
        self._kept_bytes += num_bytes


class UploadQueue:
    """The files of one delivery. Leaving its `with` by an exception throws all of them away, staged ones too.

    One file is open at a time, and as many more at most as the store takes at once are being stored, of
    `BYTES_AT_ONCE` together.
    """

    def __init__(self, store: Store, advance: Callable[[int, int], None]) -> None:
        self._store, self._progress = store, _Progress(advance)
        self._open: set[FileEncoder] = set()
        self._storing: dict[Future[StagedFile], FileEncoder] = {}
        self._staged: list[tuple[str, Future[StagedFile]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is not None:
            self._abandon(error)

    @property
    def num_rows(self) -> int:
        """Rows in the files that are kept."""
        return self._progress.kept

    def measure(self, batches: BatchGenerator, plan: FilePlan) -> tuple[int, int]:
        """Give the rows of `batches` and the bytes of a file of them, which is stored nowhere."""
        encoding = FileEncoder(batches, plan, Writer(_Nowhere()), lambda _rows, _bytes: None)
        encoding.run(encoding.encode)
        return encoding.num_rows, encoding.num_bytes

    def encode(self, batches: BatchGenerator, plan: FilePlan, max_bytes: int | None = None) -> FileEncoder:
        """Make one file, to be kept or made anew; nothing of it beyond `max_bytes` is stored."""
        self._progress.begin()
        encoding = FileEncoder(batches, plan, plan.open(self._store), self._progress.count)
        self._open.add(encoding)
        encoding.run(lambda: encoding.encode(max_bytes))
        return encoding

    def redo(self, encoding: FileEncoder) -> None:
        """Throw a file away that will be cut otherwise."""
        left = encoding.abort(UploadError("The file is cut anew, to keep max_bytes_per_file."))
        self._open.discard(encoding)
        if left:
            _log.warning("A file was cut anew to keep max_bytes_per_file. %s", left)

    def keep(self, encoding: FileEncoder) -> None:
        """Store what is left of a file, while others are encoded; raises where storing an earlier one has failed."""
        future: Future[StagedFile] = Future()
        folder = encoding.plan.partition.folder if encoding.plan.partition else ""
        self._staged.append((folder, future))
        self._storing[future] = encoding
        self._open.discard(encoding)
        self._progress.keep(encoding.num_rows, encoding.num_bytes)
        threading.Thread(target=_finish, args=(encoding, future), name="mc_sink staging", daemon=True).start()
        self._wait(lambda: len(self._storing) < self._store.at_once and self._bytes_storing() <= BYTES_AT_ONCE)

    def files(self) -> tuple[StagedFile, ...]:
        """Wait until everything is staged, and give the files: by partition, and in the order of their rows."""
        self._wait(lambda: not self._storing)
        return tuple(future.result() for _, future in sorted(self._staged, key=lambda staged: staged[0]))

    def _bytes_storing(self) -> int:
        return sum(encoding.num_bytes for encoding in self._storing.values())

    def _wait(self, enough: Callable[[], bool]) -> None:
        """Wait off the main thread until enough files are stored, or raise what one of them came to."""
        stopped = threading.Event()

        def work() -> None:
            while not enough() and not stopped.is_set():
                for future in wait(self._storing, STEP_SECONDS, FIRST_COMPLETED).done:
                    self._arrive(future)

        for future in [future for future in self._storing if future.done()]:
            self._arrive(future)
        if enough():
            return
        with Worker(work, lambda _cause: stopped.set()) as worker:
            worker.result()

    def _arrive(self, future: Future[StagedFile]) -> None:
        if error := future.exception():
            note_visibility(error, self._storing[future].plan.target.url)
            raise error
        del self._storing[future]

    def _abandon(self, cause: BaseException) -> None:
        """Throw away everything that was begun, telling on its cause what could not be.

        What is being stored gets a moment to arrive: an abort doesn't stop parts that are on their way, and S3 keeps
        those that come after it.
        """
        wait(self._storing, timeout=PATIENCE_SECONDS)
        done = [future for _, future in self._staged if future.done() and not future.exception()]
        begun = [*self._open, *(encoding for future, encoding in self._storing.items() if future not in done)]
        aborts = [partial(encoding.abort, cause) for encoding in begun]
        discards = [partial(self._store.discard, future.result()) for future in done]
        for sentence in filter(None, _several_at_once(aborts + discards, self._store.at_once)):
            add_note(cause, sentence)


def _finish(encoding: FileEncoder, future: Future[StagedFile]) -> None:
    try:
        future.set_result(encoding.finish())
    except BaseException as error:  # noqa: BLE001  handed to the thread that waits, as it is
        future.set_exception(error)


def _several_at_once(requests: Sequence[Callable[[], str | None]], at_once: int) -> list[str | None]:
    try:
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda request: request(), requests))
    except RuntimeError:  # the interpreter is leaving, and starts no more threads
        return [request() for request in requests]
