"""Stores on loopback: a real one, an imitated one, one that fails on command, and a door that fails in front of them.

- `mc_sink.sandbox`: SeaweedFS, a real S3 server with users and policies, or moto where it can't run.
- `rclone.py`: `rclone serve s3`, a real server that ignores conditions and checksums.
- `fault.py`: an S3 written for the tests, which fails where a test wants it; `profiles.py` has its rules for the
  stores that people have.
- `proxy.py`: the same failures in front of a real server, with a log of every request.
"""
