"""Making one call, or one call a page, with threads and with tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import grpc
import grpc.aio

from placet._errors import InvalidRequest, Unavailable
from placet._status import from_rpc_error
from placet._trace_context import trace_metadata

RequestT = TypeVar("RequestT", contravariant=True)
ResponseT = TypeVar("ResponseT", covariant=True)


Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Method(Protocol[RequestT, ResponseT]):
    """An rpc of a stub."""

    def __call__(
        self, request: RequestT, /, *, timeout: float, metadata: Metadata
    ) -> ResponseT: ...


class AsyncMethod(Protocol[RequestT, ResponseT]):
    """An rpc of an asyncio stub."""

    def __call__(
        self, request: RequestT, /, *, timeout: float, metadata: Metadata
    ) -> Awaitable[ResponseT]: ...


class Stream(Protocol[ResponseT]):
    """What gRPC returns for a stream of answers."""

    def __iter__(self) -> Iterator[ResponseT]: ...

    def cancel(self) -> object: ...


class AsyncStream(Protocol[ResponseT]):
    """The same for asyncio."""

    def __aiter__(self) -> AsyncIterator[ResponseT]: ...

    def cancel(self) -> object: ...


class AsyncStreamMethod(Protocol[RequestT, ResponseT]):
    """An rpc of an asyncio stub that answers with a stream."""

    def __call__(
        self, request: RequestT, /, *, timeout: float, metadata: Metadata
    ) -> AsyncStream[ResponseT]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What calls use that do not say otherwise."""

    tenant: str | None
    timeout_s: float
    management_timeout_s: float

    def tenant_or(self, tenant: str | None) -> str | None:
        """Return the tenant of a call."""
        return self.tenant if tenant is None else tenant

    def deciding_s(self, timeout_s: float | None) -> float:
        """Return the deadline of a call for decisions."""
        return _positive(self.timeout_s if timeout_s is None else timeout_s)

    def managing_s(self, timeout_s: float | None) -> float:
        """Return the deadline of a call about policies."""
        return _positive(self.management_timeout_s if timeout_s is None else timeout_s)


def _positive(timeout_s: float) -> float:
    if not timeout_s > 0:
        raise InvalidRequest(f"`timeout_s` is {timeout_s}; pass how many seconds to wait at most")
    return timeout_s


# What gRPC raises, with threads and with tasks, for a call on a channel that was closed.
CLOSED = (ValueError, grpc.aio.UsageError)


def _metadata(request: object) -> Metadata:
    """Say whose call it is where a server sees it before it reads the request, and whose trace.

    An overloaded server can then refuse a tenant that floods it, and only that one, unread.
    """
    tenant = getattr(request, "tenant", "")
    # Who places a tenant has a message there, and is not counted for what the tenant does.
    named = isinstance(tenant, str) and tenant and tenant.isascii() and tenant.isprintable()
    return (*((("placet-tenant", tenant),) if named else ()), *(trace_metadata() or ()))


def call(method: Method[RequestT, ResponseT], request: RequestT, timeout_s: float) -> ResponseT:
    """Make a call; raise what it failed with as an error of ours."""
    try:
        return method(request, timeout=timeout_s, metadata=_metadata(request))
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    except CLOSED as error:
        raise Unavailable(f"the client is closed: {error}") from error


async def call_aio(
    method: AsyncMethod[RequestT, ResponseT], request: RequestT, timeout_s: float
) -> ResponseT:
    """Make a call; raise what it failed with as an error of ours."""
    try:
        return await method(request, timeout=timeout_s, metadata=_metadata(request))
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    except CLOSED as error:
        raise Unavailable(f"the client is closed: {error}") from error


def stream(
    method: Method[RequestT, Stream[ResponseT]], request: RequestT, timeout_s: float
) -> Generator[ResponseT, None, None]:
    """Yield what a stream brings, until it ends or its deadline, and cancel what is left of it."""
    opened = call(method, request, timeout_s)
    try:
        yield from iter(opened)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    finally:
        opened.cancel()


async def stream_aio(
    method: AsyncStreamMethod[RequestT, ResponseT], request: RequestT, timeout_s: float
) -> AsyncGenerator[ResponseT, None]:
    """Yield what a stream brings, until it ends or its deadline, and cancel what is left of it."""
    try:
        opened = method(request, timeout=timeout_s, metadata=_metadata(request))
    except CLOSED as error:
        raise Unavailable(f"the client is closed: {error}") from error
    try:
        async for response in opened:
            yield response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        opened.cancel()


class PagedRequest(Protocol):
    page_token: str


class Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


PagedT = TypeVar("PagedT", bound=PagedRequest)
PageT = TypeVar("PageT", bound=Page)


def pages(method: Method[PagedT, PageT], request: PagedT, timeout_s: float) -> Iterator[PageT]:
    """Yield page after page; a page may be empty before the end. The deadline is a page's."""
    while True:
        page = call(method, request, timeout_s)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def pages_aio(
    method: AsyncMethod[PagedT, PageT], request: PagedT, timeout_s: float
) -> AsyncIterator[PageT]:
    """Yield page after page; a page may be empty before the end. The deadline is a page's."""
    while True:
        page = await call_aio(method, request, timeout_s)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
