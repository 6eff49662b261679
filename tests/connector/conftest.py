"""What holds in each test of connections: the schema for editors accepts every file that is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mc_sink import SinkError
from mc_sink.connector.connections import connection_file, inspect
from tests.support.file_schemas import faults_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def valid_for_editors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Validate each connection file that the test loads; what the schema refuses, the check must refuse too."""
    loaded: list[tuple[dict[str, Any], connection_file.Connection]] = []
    read = connection_file.of_document

    def keeping(document: dict[str, Any], **facts: Any) -> connection_file.Connection:
        connection = read(document, **facts)
        loaded.append((document, connection))
        return connection

    monkeypatch.setattr(connection_file, "of_document", keeping)
    yield
    for document, connection in loaded:
        if faults := faults_of(document):
            with pytest.raises(SinkError):
                print(f"{inspect(connection)} is valid, and refused by the schema: {faults}")  # noqa: T201
