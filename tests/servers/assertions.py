"""What must be true of a bucket after a delivery that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mc_sink.sandbox.admin import ListedObject


class Listing(Protocol):
    """Any server whose visible objects can be listed."""

    def listing(self, bucket: str, prefix: str = "") -> dict[str, ListedObject]:
        """Return every visible object whose key starts with `prefix`."""


def assert_nothing_visible(server: Listing, bucket: str, prefix: str = "") -> None:
    """Fail, and name what is there, when anything under the prefix can be seen."""
    visible = server.listing(bucket, prefix)
    assert not visible, f"{len(visible)} visible under s3://{bucket}/{prefix}: {visible}"
