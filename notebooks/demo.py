"""The demonstration of a clone: `make demo`.

Runs `mc-sink demo` with a million rows. Then it pulls the cable of a delivery to the same kind of server, which the
tests' proxy can do, and runs the delivery again.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import mc_sink
from mc_sink.sandbox import Sandbox
from mc_sink.testing import sample
from tests.servers.faults import FOREVER, Reset
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from mc_sink.sandbox import Admin, Writer

ROWS = 1_000_000


def main() -> None:
    """Run the demonstration of the command, and then interrupt a delivery."""
    command = [sys.executable, "-m", "mc_sink.connector.cli", "demo", "--rows", str(ROWS)]
    subprocess.run(command, check=True)
    with Sandbox() as sandbox:
        pull_the_cable(sandbox.server, sandbox.server.new_writer())


def pull_the_cable(server: Admin, writer: Writer) -> None:
    """Cut the network while several files are being published, and run the same delivery again."""
    say("Delivering four files and a manifest, and pulling the cable when two of them are published …")
    with Proxy(server.url) as cable:
        cable.fault("Complete", Reset("head"), n=3, times=FOREVER)
        try:
            deliver_nightly(replace(writer, url=cable.url))
        except mc_sink.CommitError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        else:
            raise SystemExit("The delivery went through a cable that was pulled.")
    shown = server.listing(writer.bucket, "nightly/")
    say(f"{len(shown)} whole files are visible, and no manifest. The cable is back; the same run again …")
    receipt = deliver_nightly(writer)
    print(f"{receipt}\nverified   {receipt.verify()}", flush=True)
    if (receipt.num_rows, receipt.num_found, mc_sink.list_journals()) != (ROWS, len(shown), []):
        raise SystemExit("The second run did not deliver the rest, once.")


def deliver_nightly(writer: Writer) -> mc_sink.Receipt:
    """Deliver in files of a quarter of the rows, as a job that may be started again; not patient with the network."""
    return mc_sink.sink_madconnect(
        sample("audience", ROWS),
        writer.target("nightly/"),
        run_id="nightly-2026-11-22",
        max_rows_per_file=ROWS // 4,
        storage_options=writer.storage_options | {"config_kwargs": {"read_timeout": 10}},
    )


def say(line: str) -> None:
    """Print a line that stands out among receipts."""
    print(f"\n── {line}", flush=True)


if __name__ == "__main__":
    main()
