"""Who calls: told with every call of a client. Proofs are in ``_credentials.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from placet._calls import Metadata
from placet._values import refusal, text_to_wire

_ACTOR, _GROUPS = "placet-actor", "placet-groups"
_MAX_CHARS = 256


def caller_metadata(actor: str, groups: Iterable[str]) -> Metadata:
    """Return what tells a server who calls.

    Raises:
        InvalidRequest: a name cannot be told, or would be taken for several.
    """
    if isinstance(groups, str):
        raise refusal("groups", 'is one text; pass several, such as `["leads"]`')
    named = [_checked(group, "groups") for group in groups]
    for group in named:
        if not group or "," in group:
            raise refusal("groups", f"has `{group}`; name groups without commas")
    told = {_ACTOR: _checked(actor, "actor"), _GROUPS: ",".join(named)}
    return tuple((key, value) for key, value in told.items() if value)


def _checked(name: str, path: str) -> str:
    text_to_wire(name, path)
    if len(name) > _MAX_CHARS or not (name.isascii() and (name.isprintable() or not name)):
        raise refusal(path, f"has `{name[:80]}`; use up to 256 printable characters of ASCII")
    if name != name.strip():
        raise refusal(path, f"has `{name}` with a blank at its start or end; leave it out")
    return name


class TellingChannel:
    """A channel, for threads or asyncio, whose calls all carry some metadata of the client's.

    The metadata may be what returns it, which is then asked for each call.

    Not gRPC's interceptors: those for asyncio put objects of their own in the place of calls,
    which behave differently when they are cancelled.
    """

    def __init__(self, channel: Any, metadata: Metadata | Callable[[], Metadata]) -> None:
        self._channel = channel
        self._metadata = metadata

    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """Return an rpc that tells who calls."""
        return self._telling(self._channel.unary_unary(*method, **options))

    def unary_stream(self, *method: Any, **options: Any) -> Any:
        """The same for one that answers with a stream."""
        return self._telling(self._channel.unary_stream(*method, **options))

    def stream_stream(self, *method: Any, **options: Any) -> Any:
        """The same for one that also takes a stream."""
        return self._telling(self._channel.stream_stream(*method, **options))

    def stream_unary(self, *method: Any, **options: Any) -> Any:
        """The same for one that only takes a stream."""
        return self._telling(self._channel.stream_unary(*method, **options))

    def subscribe(self, *arguments: Any, **options: Any) -> None:
        """Have somebody told of the connection's state."""
        self._channel.subscribe(*arguments, **options)

    def unsubscribe(self, *arguments: Any) -> None:
        """Have somebody told of it no longer."""
        self._channel.unsubscribe(*arguments)

    def channel_ready(self) -> Any:
        """Return what waits, for asyncio, until there is a connection."""
        return self._channel.channel_ready()

    def close(self) -> Any:
        """Close the channel; to be awaited for asyncio."""
        return self._channel.close()

    def _telling(self, method: Any) -> _TellingMethod:
        return _TellingMethod(method, self._metadata)


class _TellingMethod:
    """An rpc whose calls carry some metadata of the client's."""

    __slots__ = ("_metadata", "_method")

    def __init__(self, method: Any, metadata: Metadata | Callable[[], Metadata]) -> None:
        self._method = method
        self._metadata = metadata

    def __call__(self, *request: Any, metadata: Metadata = (), **options: Any) -> Any:
        return self._method(*request, metadata=(*metadata, *self._own()), **options)

    def future(self, *request: Any, metadata: Metadata = (), **options: Any) -> Any:
        """Begin a call whose end is told of; for threads."""
        return self._method.future(*request, metadata=(*metadata, *self._own()), **options)

    def _own(self) -> Metadata:
        return self._metadata() if callable(self._metadata) else self._metadata
