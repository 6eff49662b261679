"""Run `mc-sink` as `python -m mc_sink.connector.cli`."""

from __future__ import annotations

from mc_sink.connector.cli import main

if __name__ == "__main__":
    main()
