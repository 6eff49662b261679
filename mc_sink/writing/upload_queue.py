"""Encode one file while a few others are uploaded; stage all files or none.

    encode ──keep──► uploaded, several at a time ──► staged
       └────redo────► discarded

Measured: a small file takes a millisecond to encode and two requests to upload. A thousand of them, one after the
other, would only wait for a distant store.
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
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from mc_sink.staged import StagedFile, Upload
    from mc_sink.storage import Store
    from mc_sink.writing.encoding import BatchGenerator
    from mc_sink.writing.plan import FilePlan

_log = logger(__name__)
# Bytes of the files that are uploaded while the next one is encoded.
BYTES_AT_ONCE = 64 * 2**20


class _Nowhere:
    """An upload that drops its bytes."""

    crc = 0

    def write(self, data: bytes) -> None:
        pass

    def finish(self) -> Upload:
        raise UploadError("A file that was only measured can't be staged. This should not happen: please report it.")

    def stop(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _Progress:
    """Reports each row once, also if its file is encoded again, and bytes on top of those of the files before."""

    def __init__(self, advance: Callable[[int, int], None]) -> None:
        self._advance = advance
        self.kept = 0
        self._reported = self._kept_bytes = self._rows = 0

    def begin(self) -> None:
        self._rows = 0

    def count(self, num_rows: int, num_bytes: int) -> None:
        self._rows += num_rows
        new = max(0, self.kept + self._rows - self._reported)
        self._reported += new
        self._advance(new, self._kept_bytes + num_bytes)

    def keep(self, num_rows: int, num_bytes: int) -> None:
        self.kept += num_rows
        self._kept_bytes += num_bytes


class UploadQueue:
    """The files of one delivery. Leaving its `with` by an exception discards all of them, staged ones too.

    One file is open at a time. Others are being uploaded, at most as many as the store takes at once, and of at most
    `BYTES_AT_ONCE` together. Without `keeps_empty`, a file without rows is dropped, of which nothing has been sent.
    """

    keeps_empty = True

    def __init__(self, store: Store, advance: Callable[[int, int], None]) -> None:
        self._store, self._progress = store, _Progress(advance)
        self._open: set[FileEncoder] = set()
        self._uploading: dict[Future[StagedFile], FileEncoder] = {}
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
        """Return the rows of `batches` and the bytes of a file of them, which is not stored."""
        encoder = FileEncoder(batches, plan, Writer(_Nowhere()), lambda _rows, _bytes: None)
        encoder.run(encoder.encode)
        return encoder.num_rows, encoder.num_bytes

    def encode(self, batches: BatchGenerator, plan: FilePlan, max_bytes: int | None = None) -> FileEncoder:
        """Encode one file, to be kept or redone; at most `max_bytes` of it are stored."""
        self._progress.begin()
        encoder = FileEncoder(batches, plan, plan.open(self._store), self._progress.count)
        self._open.add(encoder)
        encoder.run(lambda: encoder.encode(max_bytes))
        return encoder

    def redo(self, encoder: FileEncoder) -> None:
        """Discard a file that will end at another row, or that isn't needed."""
        left = encoder.abort(UploadError("The file is encoded again, to keep max_bytes_per_file."))
        self._open.discard(encoder)
        if left:
            _log.warning("A file was encoded again to keep max_bytes_per_file. %s", left)

    def keep(self, encoder: FileEncoder) -> None:
        """Upload the rest of a file while others are encoded; raise the error of an earlier upload."""
        if not (encoder.num_rows or self.keeps_empty):
            self.redo(encoder)
            return
        future: Future[StagedFile] = Future()
        folder = encoder.plan.partition.folder if encoder.plan.partition else ""
        self._staged.append((folder, future))
        self._uploading[future] = encoder
        self._open.discard(encoder)
        self._progress.keep(encoder.num_rows, encoder.num_bytes)

        def finish() -> None:
            try:
                future.set_result(encoder.finish())
            except BaseException as error:  # noqa: BLE001  raised in the thread that waits
                future.set_exception(error)

        threading.Thread(target=finish, name="mc_sink staging", daemon=True).start()
        self._wait(lambda: len(self._uploading) < self._store.at_once and self._bytes_uploading() <= BYTES_AT_ONCE)

    def files(self) -> tuple[StagedFile, ...]:
        """Wait until everything is staged, and return the files by partition, in the order of their rows."""
        self._wait(lambda: not self._uploading)
        return tuple(future.result() for _, future in sorted(self._staged, key=lambda staged: staged[0]))

    def _bytes_uploading(self) -> int:
        return sum(encoder.num_bytes for encoder in self._uploading.values())

    def _wait(self, enough: Callable[[], bool]) -> None:
        """Wait off the main thread until enough files are staged, or raise the error of one of them."""
        stopped = threading.Event()

        def work() -> None:
            while not enough() and not stopped.is_set():
                for future in wait(self._uploading, STEP_SECONDS, FIRST_COMPLETED).done:
                    self._arrive(future)

        for future in [future for future in self._uploading if future.done()]:
            self._arrive(future)
        if enough():
            return
        with Worker(work, lambda _cause: stopped.set()) as worker:
            worker.result()

    def _arrive(self, future: Future[StagedFile]) -> None:
        if error := future.exception():
            note_visibility(error, self._uploading[future].plan.target.url)
            raise error
        del self._uploading[future]

    def _abandon(self, cause: BaseException) -> None:
        """Discard all files, and note on the cause what the store keeps.

        Uploads get a moment to end first: an abort doesn't stop parts in flight, and S3 keeps parts that arrive later.
        """
        wait(self._uploading, timeout=PATIENCE_SECONDS)
        done = [future for _, future in self._staged if future.done() and not future.exception()]
        begun = [*self._open, *(encoder for future, encoder in self._uploading.items() if future not in done)]
        aborts = [partial(encoder.abort, cause) for encoder in begun]
        discards = [partial(self._store.discard, future.result()) for future in done]
        requests = aborts + discards
        try:
            with ThreadPoolExecutor(self._store.at_once) as pool:
                sentences = list(pool.map(lambda request: request(), requests))
        except RuntimeError:  # the interpreter is leaving, and starts no more threads
            sentences = [request() for request in requests]
        for sentence in filter(None, sentences):
            add_note(cause, sentence)
