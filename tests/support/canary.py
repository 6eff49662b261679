"""Deliveries with unmistakable credentials, and everything about them written down.

Run it as `python -m tests.support.canary HOW DIR`.

Each situation is run with all logs on; what comes of it is shown in every way that shows things: as text, pickled, as
a traceback with the locals of every frame but these here, down the whole chain of causes. `found_in` looks for the
credentials in all of it.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import io
import json
import logging
import os
import pickle
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import mc_sink
from mc_sink.sandbox.admin import Credentials
from mc_sink.secret import Secret
from mc_sink.storage import Stores
from mc_sink.target import parse_target
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Call, Reset, Status
from tests.servers.rules import Rules
from tests.support.frames import SMALL_PARTS, endless_until, failing_once, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KEY, SECRET, TOKEN = "AKIA" + "CANARYKEYID0001", "canarySECRETvalue" + "0002", "canaryTOKENvalue" + "0003"
CANARIES = (KEY, SECRET, TOKEN)
HERE = str(Path(__file__).parents[1])
FEW, MANY = numbers(3), numbers(400_000)
# As S3 words it: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
ECHO = (
    "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>The key {key} with {token} is not the "
    "one.</Message><AWSAccessKeyId>{key}</AWSAccessKeyId><Token-0>{token}</Token-0>"
    "<StringToSign>x {key}\n</StringToSign><StringToSignBytes>{hex}</StringToSignBytes>"
    "<CanonicalRequest>PUT\nx-amz-security-token:{token}</CanonicalRequest>"
    "<CanonicalRequestBytes>{hex}</CanonicalRequestBytes><RequestId>1</RequestId></Error>"
)
PAGE = "<html><body>Refused: {key} {token}</body></html>"


def found_in(text: bytes) -> list[str]:
    """Name the credentials that are somewhere in a text, as they are or in hex, as S3 repeats what was signed."""
    plain = text.lower()
    return [one for one in CANARIES if any(form in plain for form in (one.lower().encode(), *_hex(one)))]


def _hex(text: str) -> tuple[bytes, bytes]:
    return text.encode().hex().encode(), text.encode().hex(" ").encode()


def echo(status: int, code: str, document: str = ECHO) -> Body:
    """Make a refusal that repeats the credentials it was sent."""
    told = document.format(code=code, key=KEY, token=TOKEN, hex=_hex(TOKEN)[1].decode())
    return Body(status, told.encode(), (("Content-Type", "application/xml"),))


def tell(thing: object) -> Iterator[str]:
    """Show a thing in every way that things are shown; an error with the locals of its frames, and what caused it."""
    yield from (repr(thing), str(thing), f"{thing}", json.dumps({"it": thing}, default=str))
    if hasattr(thing, "_repr_html_"):
        yield thing._repr_html_()
    try:
        yield repr(pickle.dumps(thing))
    except Exception as refused:  # noqa: BLE001  any error is examined
        yield f"no pickle: {refused!r}"
    if isinstance(thing, BaseException):
        yield "".join(traceback.format_exception(thing))
        seen: dict[int, BaseException] = {}
        _chain(thing, seen)
        for error in seen.values():
            yield from _innards(error)


def _chain(error: BaseException | None, seen: dict[int, BaseException]) -> None:
    if error is None or id(error) in seen:
        return
    seen[id(error)] = error
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        _chain(other, seen)


def _innards(error: BaseException) -> Iterator[str]:
    """Show an error's attributes, and the locals of its frames; those of the tests are the caller's own."""
    yield f"{error!r} {error.args!r} {vars(error)!r}"
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if not code.co_filename.startswith(HERE):
            shown = [f"{name} = {_shown(value)}" for name, value in frame.f_locals.items()]
            yield f"{code.co_filename}:{line} in {code.co_qualname}\n  " + "\n  ".join(shown)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  a frame may hold a thing that is half made
        return f"<{error!r}>"


class Situations:
    """A server that knows the canaries, a folder to work in, and what can happen to a delivery."""

    def __init__(self, server: FaultServer, folder: Path, wrap: Callable[[str], Any]) -> None:
        self.server, self.folder = server, folder
        self.options: dict[str, Any] = {"key": wrap(KEY), "secret": wrap(SECRET), "token": wrap(TOKEN)}
        self.options |= {"endpoint_url": server.url} | SMALL_PARTS
        self.wrap = wrap
        self._runs = 0

    def deliver(self, frame: Any = FEW, suffix: str = "csv", **other: Any) -> Iterator[object]:
        """Deliver a frame, with some options changed."""
        self._runs += 1
        target = self.server.writer.target(f"p/{self._runs}.{suffix}")
        yield mc_sink.sink_madconnect(frame, target, storage_options=self.options | other, progress=False)

    def all(self) -> dict[str, Callable[[], Iterator[object]]]:
        """Return the situations by name; each yields what came of it, or raises."""
        at = functools.partial
        return {
            "a small delivery": self.deliver,
            "parts": at(self.deliver, MANY, "parquet"),
            "staged and published": self.staged,
            "the stores themselves": self.stores,
            "a refused key": at(self.struck, "List", echo(403, "InvalidAccessKeyId")),
            "a refused signature": at(self.struck, "Put", echo(403, "SignatureDoesNotMatch")),
            "an expired token": at(self.struck, "Create", echo(400, "ExpiredToken"), MANY),
            "a refused part": at(self.struck, "Part", echo(403, "AccessDenied"), MANY),
            "a refused abort": at(self.struck, "Abort", echo(403, "AccessDenied"), self.failing),
            "an error in a 200": at(self.struck, "Complete", echo(200, "InvalidToken"), MANY),
            "a page instead of an answer": at(self.struck, "Put", echo(403, "", PAGE)),
            "a bucket elsewhere": at(self.struck, "List", echo(301, "PermanentRedirect")),
            "a lost reply": at(self.struck, "Put", Reset()),
            "a bucket that isn't there": at(self.struck, "Put", Status(404, "NoSuchBucket")),
            "a wrong secret": at(self.deliver, secret=self.wrap("no" + SECRET)),
            "a failing query": self.failing,
            "a failing source": self.failing_source,
            "Ctrl-C": self.interrupted,
            "by way of the namespace": self.namespace,
            "a misspelt name": at(self.deliver, secrte=self.wrap(SECRET)),
            "a misspelt name inside": at(self.deliver, client_kwargs={"aws_secret_acces_key": self.wrap(SECRET)}),
            "a credential for a name": at(self.deliver, **{KEY: "key"}),
            "bytes": at(self.deliver, secret=SECRET.encode()),
            "a list": at(self.deliver, token=[self.wrap(TOKEN)]),
            "text for a dict": at(self.deliver, client_kwargs=self.wrap(SECRET)),
            "text for a number": at(self.deliver, default_block_size=self.wrap(SECRET)),
            "no dict at all": at(self.deliver_with, self.wrap(SECRET)),
            "a line's end in the token": at(self.deliver, token=self.wrap(TOKEN + "\n")),
            "letters that no header takes": at(self.deliver, token=self.wrap(TOKEN + "é")),
            "given twice": at(self.deliver, client_kwargs={"aws_secret_access_key": self.wrap("no" + SECRET)}),
            "two names for one": at(self.deliver, password=self.wrap(SECRET)),
            "a URL with credentials": at(self.deliver, endpoint_url=self.wrap(f"http://{KEY}:{SECRET}@127.0.0.1:9")),
            "a URL that is a secret": at(self.deliver, endpoint_url=self.wrap(SECRET)),
            "plain http": at(self.deliver, endpoint_url="http://s3.example"),
            "found in the environment": at(self.found, self.environment),
            "found in a profile": at(self.found, self.profile),
        }

    def deliver_with(self, options: Any) -> Iterator[object]:
        """Deliver with other options altogether."""
        yield mc_sink.sink_madconnect(FEW, self.server.writer.target("p/"), storage_options=options)

    def namespace(self) -> Iterator[object]:
        """Deliver as a method of the frame, with a name that is refused."""
        sink: Any = FEW.lazy().sink_madconnect  # type: ignore[attr-defined]
        yield sink(self.server.writer.target("p/"), storage_options=self.options | {"secrte": self.wrap(SECRET)})

    def staged(self) -> Iterator[object]:
        """Stage, look, publish in a second step, and verify."""
        staged = mc_sink.stage(MANY, self.server.writer.target("p/"), storage_options=self.options)
        yield staged
        receipt = mc_sink.publish([staged], storage_options=self.options)
        yield receipt
        yield receipt.verify()
        yield mc_sink.discard([staged], storage_options=self.options)

    def stores(self) -> Iterator[object]:
        """Look at what holds the credentials."""
        stores = Stores(self.options)
        yield stores
        yield stores.of(parse_target(self.server.writer.target("p/")))
        yield vars(stores)

    def struck(self, op: str, fault: Any, frame: Any = FEW) -> Iterator[object]:
        """Deliver to a server that fails at every such request, or does once for what would be tried again."""
        times = 1 if isinstance(fault, Reset) else FOREVER
        self.server.fault(op, fault, times=times)
        try:
            yield from frame() if callable(frame) else self.deliver(frame)
        finally:
            self.server.heal()

    def failing(self) -> Iterator[object]:
        """Deliver a query that can't cast a value which comes when a part is up."""
        good, bad = MANY.with_columns(late=pl.lit("1")), MANY.with_columns(late=pl.lit("x"))
        seen = len(self.server.log.of("Part"))
        frame = endless_until(good, lambda: len(self.server.log.of("Part")) > seen, bad)
        yield from self.deliver(frame.with_columns(pl.col("late").cast(pl.Int64)))

    def failing_source(self) -> Iterator[object]:
        """Deliver from a source that fails when a part is up."""
        seen = len(self.server.log.of("Part"))
        failing = failing_once(MANY, lambda: len(self.server.log.of("Part")) > seen, RuntimeError("gone"))
        yield from self.deliver(failing)

    def interrupted(self) -> Iterator[object]:
        """Deliver until Ctrl-C comes, while a part is on its way."""
        self.server.fault("Part", Call(lambda _: _thread.interrupt_main()))
        try:
            yield from self.deliver(endless_until(MANY, lambda: False))
            time.sleep(5)
        finally:
            self.server.heal()

    def environment(self) -> dict[str, str]:
        """Return the variables with which AWS' own tools find credentials."""
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}

    def profile(self) -> dict[str, str]:
        """Return the variables that name a file with credentials."""
        path = self.folder.parent / "credentials"
        path.write_text(
            f"[canary]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\naws_session_token={TOKEN}\n", "utf-8"
        )
        return {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_PROFILE": "canary"}

    def found(self, variables: Callable[[], Mapping[str, str]]) -> Iterator[object]:
        """Deliver with credentials that were looked up, first well and then to a server that repeats them."""
        options = {"endpoint_url": self.server.url}
        before = dict(os.environ)
        os.environ.update(variables())
        try:
            yield mc_sink.sink_madconnect(FEW, self.server.writer.target("p/"), storage_options=options)
            self.server.fault("Put", echo(403, "InvalidAccessKeyId"))
            yield mc_sink.sink_madconnect(FEW, self.server.writer.target("p/"), storage_options=options)
        finally:
            os.environ.clear()
            os.environ.update(before)


def run(wrap: Callable[[str], Any], folder: Path) -> dict[str, str]:
    """Run every situation and return all text that came of it; delivered objects are put beside it in the folder."""
    told: dict[str, str] = {}
    with FaultServer(Rules(credentials=(Credentials(KEY, SECRET),))) as server:
        situations = Situations(server, folder, wrap)
        for name, situation in situations.all().items():
            with logged() as said:
                told[name] = "\n".join(outcomes(situation))
            told[name] += said.getvalue()
        for key, stored in server.store.bucket(server.bucket).items():
            (folder / key.replace("/", "_")).write_bytes(b"".join(stored.data))
    return told


def outcomes(situation: Callable[[], Iterator[object]]) -> Iterator[str]:
    """Show every result of a situation, to its end."""
    try:
        for outcome in situation():
            yield from tell(outcome)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the end of most situations
        yield from tell(error)


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Write down all logs, of every library and of the event loop, from DEBUG on."""
    said, root = io.StringIO(), logging.getLogger()
    writer, level = logging.StreamHandler(said), root.level
    writer.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    root.addHandler(writer)
    root.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        root.setLevel(level)
        root.removeHandler(writer)


HOW: dict[str, Callable[[str], Any]] = {"plain": str, "secret": Secret}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(HOW[sys.argv[1]], Path(sys.argv[2]))))
