"""A channel to one target that goes where refusals lead: to the nodes that may have the tenant.

A node that may not have a tenant's data names those that may. As long as none does, a call costs
what it costs on gRPC's own channel, but for a comparison; from then on calls for that tenant go
through a channel that chooses between endpoints, and learns from such refusals which to use.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio

from placet._balancing.methods import tenant_of
from placet._errors import PlacetError, WrongRegion
from placet._status import from_rpc_error

_MOST_TENANTS = 1_000


class _Redirecting(ABC):
    """What a channel looks like to stubs.

    Args:
        channel: gRPC's, to the target.
        open_balanced: opens one that begins at the target and goes where refusals lead.
    """

    def __init__(self, channel: Any, open_balanced: Callable[[], Any]) -> None:
        self._channel = channel
        self._open_balanced = open_balanced
        self._balanced: Any = None
        self._lock = threading.Lock()
        self._led: set[str] = set()

    @abstractmethod
    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """Return an rpc that goes where refusals lead."""

    def unary_stream(self, *method: Any, **options: Any) -> Any:
        """Return one that answers with a stream. Its refusals are told to whoever reads it."""
        return self._channel.unary_stream(*method, **options)

    def stream_stream(self, *method: Any, **options: Any) -> Any:
        """The same for one that also takes a stream."""
        return self._channel.stream_stream(*method, **options)

    def __getattr__(self, name: str) -> Any:
        # What tells of the connection is the target's.
        return getattr(self._channel, name)

    def is_led(self, request: Any) -> bool:
        """Whether a request is to be made elsewhere."""
        return bool(self._led) and tenant_of(request) in self._led

    def leads(self, error: grpc.RpcError, request: Any) -> bool:
        """Whether a refusal says where to go, and there is a way to go there."""
        # Every error of a call is a call as well, which the types do not say.
        failed: Any = error
        if failed.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            return False
        refusal = from_rpc_error(error)
        if not isinstance(refusal, WrongRegion) or refusal.route is None:
            return False
        try:
            self.balanced()
        except PlacetError:
            # The target is of a kind that only gRPC understands.
            return False
        if len(self._led) >= _MOST_TENANTS:
            self._led.clear()
        self._led.add(tenant_of(request))
        return True

    def balanced(self) -> Any:
        """Return the channel that goes where refusals lead."""
        with self._lock:
            if self._balanced is None:
                self._balanced = self._open_balanced()
            return self._balanced


class RedirectingChannel(_Redirecting):
    """For threads."""

    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """Return an rpc that goes where refusals lead."""
        return _Method(self, self._channel.unary_unary(*method, **options), method, options)

    def close(self) -> None:
        """Close all connections."""
        self._channel.close()
        if self._balanced is not None:
            self._balanced.close()


class RedirectingAioChannel(_Redirecting):
    """For asyncio."""

    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """Return an rpc that goes where refusals lead."""
        return _AioMethod(self, self._channel.unary_unary(*method, **options), method, options)

    async def close(self) -> None:
        """Close all connections."""
        await self._channel.close()
        if self._balanced is not None:
            await self._balanced.close()


class _Redirected:
    """An rpc at the target, and the same elsewhere."""

    __slots__ = ("_channel", "_elsewhere", "_how", "_method")

    def __init__(self, channel: _Redirecting, method: Any, path: Any, options: Any) -> None:
        self._channel = channel
        self._method = method
        self._how = (path, options)
        self._elsewhere: Any = None

    def elsewhere(self) -> Any:
        """Return the rpc where refusals lead."""
        if self._elsewhere is None:
            path, options = self._how
            self._elsewhere = self._channel.balanced().unary_unary(*path, **options)
        return self._elsewhere


class _Method(_Redirected):
    __slots__ = ()

    def __call__(self, request: Any, *, timeout: float, metadata: Any = ()) -> Any:
        if self._channel.is_led(request):
            return self.elsewhere()(request, timeout=timeout, metadata=metadata)
        start_s = time.monotonic()
        try:
            return self._method(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            left_s = timeout - (time.monotonic() - start_s)
            if left_s <= 0 or not self._channel.leads(error, request):
                raise
            return self.elsewhere()(request, timeout=left_s, metadata=metadata)


class _AioMethod(_Redirected):
    __slots__ = ()

    def __call__(
        self, request: Any, *, timeout: float, metadata: Any = ()
    ) -> Coroutine[Any, Any, Any]:
        return self._call(request, timeout, metadata)

    async def _call(self, request: Any, timeout_s: float, metadata: Any) -> Any:
        if self._channel.is_led(request):
            return await self.elsewhere()(request, timeout=timeout_s, metadata=metadata)
        start_s = time.monotonic()
        try:
            return await self._method(request, timeout=timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            left_s = timeout_s - (time.monotonic() - start_s)
            if left_s <= 0 or not self._channel.leads(error, request):
                raise
            return await self.elsewhere()(request, timeout=left_s, metadata=metadata)
