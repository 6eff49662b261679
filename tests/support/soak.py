"""A scheduler whose clock runs faster and begins at a moment of choice; the soak test runs it as a program.

The clock begins when the scheduler first looks at it, so that no time that is due passes while files are loaded.
Arguments: the moment, how many seconds of its clock pass in a second, when it stops (in seconds), a file for figures,
and the connection files. A line of figures is written each second.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from mc_sink.connector.cli.exit import calling
from mc_sink.connector.cli.run_commands import log_lines
from mc_sink.connector.connections import Connection, Scheduler, load, scheduler


def main(moment: str, speed: str, seconds: str, figures: str, *files: str) -> None:
    """Run the scheduler until its time is over, or SIGTERM."""
    start, began, looks = datetime.fromisoformat(moment), time.monotonic(), list[float]()
    log_lines()
    scheduler.LOOK_SECONDS = 0.2
    own = psutil.Process()

    def measure() -> None:
        with Path(figures).open("a", encoding="utf-8") as file:
            while True:
                memory = own.memory_info().rss
                numbers = {"threads": own.num_threads(), "descriptors": own.num_fds(), "memory": memory}
                file.write(json.dumps({"at": time.monotonic() - began} | numbers) + "\n")
                file.flush()
                if time.monotonic() - began > float(seconds):
                    made.stop()
                    return
                time.sleep(1)

    def clock() -> datetime:
        looks.append(time.monotonic())
        del looks[1:-1]
        return start + timedelta(seconds=(looks[-1] - looks[0]) * float(speed))

    def command(one: Connection) -> list[str]:
        return [sys.executable, "-m", "mc_sink.connector.cli", "run", str(one.file), "--trigger", "schedule"]

    made = Scheduler(
        [load(file) for file in files],
        command,
        at_once=3,
        clock=clock,
    )
    threading.Thread(target=measure, daemon=True).start()
    with calling(lambda _number, _frame: made.stop()):
        made.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
