"""Places in files, as messages and in the engine's form."""

from __future__ import annotations

from placet.v1 import evaluate_service_pb2
from placet_engine import model


def position_to_wire(position: model.Position) -> evaluate_service_pb2.SourcePosition:
    """Return a place in a file as a message."""
    return evaluate_service_pb2.SourcePosition(
        file=position.file, line=position.line, column=position.column
    )


def position_from_wire(message: evaluate_service_pb2.SourcePosition) -> model.Position:
    """Read a place in a file; out of range means unknown."""
    return model.Position(
        file=message.file, line=max(message.line, 0), column=max(message.column, 0)
    )
