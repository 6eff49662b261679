"""`python -m mc_sink.cli` is `mc-sink`."""

from mc_sink.cli import main

if __name__ == "__main__":
    main()
