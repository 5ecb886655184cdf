"""Local evaluation for asyncio: ``LocalEvaluator``, with the methods of the one for threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc

from placet import _requests as building
from placet import aio
from placet._balancing.options import Balancing
from placet._channel import ChannelOptions, Destination, Dialing, Target
from placet._credentials import Credentials
from placet._decisions import Decision
from placet._enforcing import AsyncEnforcement
from placet._errors import DecisionError, PlacetError, Unavailable
from placet._freshness import State, StateChange, Status
from placet._requests import ActionLike, BatchSemantics, Request, ResourceLike, SubjectLike
from placet._values import Attributes, Entity
from placet.local._deciding import Deciding
from placet.local._exact import exact_key
from placet.local._options import LocalOptions, WhenStale
from placet.local._programs import Programs, following_programs

__all__ = ["LocalEvaluator"]


class LocalEvaluator(AsyncEnforcement):
    """Decides in this process, by policies that follow the server's. For one event loop.

    An async context manager: within it, policies are followed in the background.
    """

    def __init__(
        self,
        target: Target,
        *,
        tenant: str,
        max_staleness_s: float = 30.0,
        when_stale: WhenStale = "raise",
        start_timeout_s: float = 5.0,
        timeout_s: float = 1.0,
        cache_entries: int = 10_000,
        stale_after_s: float = 15.0,
        subscriber: str = "",
        region: str = "",
        balancing: Balancing | None = None,
        credentials: grpc.ChannelCredentials | Credentials | None = None,
        options: ChannelOptions = (),
        on_state_change: Callable[[StateChange], None] | None = None,
    ) -> None:
        """Prepare to follow a tenant's policies. See ``placet.local.LocalEvaluator``."""
        self._options = LocalOptions(
            tenant=tenant,
            max_staleness_s=max_staleness_s,
            when_stale=when_stale,
            start_timeout_s=start_timeout_s,
            timeout_s=timeout_s,
            cache_entries=cache_entries,
            stale_after_s=stale_after_s,
            subscriber=subscriber,
            region=region,
            on_state_change=on_state_change,
        )
        self._destination = Destination(
            target, Dialing(credentials, tuple(options)), balancing=balancing, tenant=tenant
        )
        self._remote = aio.Client(
            target,
            tenant=tenant,
            timeout_s=timeout_s,
            balancing=balancing,
            credentials=credentials,
            options=options,
        )
        self._stack = AsyncExitStack()
        self._programs: Programs | None = None
        self._deciding: Deciding | None = None

    @property
    def status(self) -> Status:
        """State, revision, last error and times of the policies in use, at this moment."""
        return self._programs.status if self._programs is not None else Status()

    @property
    def state(self) -> State:
        """``ERROR`` also when the newest policies do not compile; those before them go on."""
        return self.status.state

    @property
    def revision(self) -> int:
        """The revision that decides; 0 before the first."""
        return self.status.revision

    @property
    def last_error(self) -> PlacetError | None:
        """Why the evaluator is not ready, or was not the last time it was not."""
        return self.status.last_error

    def staleness(self) -> timedelta | None:
        """Return the time since what decides was known to be the newest; None without any."""
        seconds = self._programs.staleness_s() if self._programs is not None else None
        return None if seconds is None else timedelta(seconds=seconds)

    async def wait_ready(self, *, timeout_s: float = 10.0) -> None:
        """Wait until the newest policies are in use."""
        programs, _ = self._opened()
        await programs.wait_ready(timeout_s=timeout_s)

    async def evaluate(
        self,
        subject: SubjectLike,
        action: ActionLike,
        resource: ResourceLike,
        context: Attributes | None = None,
        *,
        tenant: str | None = None,
        entities: Iterable[Entity] = (),
        permit: str = "",
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> Decision:
        """Decide whether a subject may do an action on a resource."""
        programs, deciding = self._opened()
        entities = tuple(entities)
        of_tenant = deciding.tenant(tenant)
        plain = not entities and not permit
        key = exact_key(subject, action, resource, context) if plain else None
        known = deciding.recall(key, min_revision)
        if known is not None:
            return known
        message = building.evaluate_request(
            of_tenant,
            subject,
            action,
            resource,
            context,
            entities=entities,
            permit=permit,
        )
        if not deciding.can_answer(min_revision):
            patience_s = deciding.patience_s(timeout_s)
            await programs.wait_covering(min_revision, timeout_s=patience_s)
        decision = deciding.evaluate(message, key)
        if decision is not None:
            return decision
        return await self._remote.evaluate(
            subject,
            action,
            resource,
            context,
            entities=entities,
            permit=permit,
            min_revision=min_revision,
            timeout_s=timeout_s,
        )

    async def evaluate_batch(
        self,
        items: Iterable[Request],
        *,
        subject: SubjectLike | None = None,
        action: ActionLike | None = None,
        resource: ResourceLike | None = None,
        context: Attributes | None = None,
        entities: Iterable[Entity] = (),
        semantics: BatchSemantics = BatchSemantics.EXECUTE_ALL,
        tenant: str | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> list[Decision | DecisionError]:
        """Decide up to 1,000 requests by one revision; see ``placet.Client.evaluate_batch``."""
        programs, deciding = self._opened()
        items, entities = tuple(items), tuple(entities)
        message = building.batch_request(
            deciding.tenant(tenant),
            items,
            subject=subject,
            action=action,
            resource=resource,
            context=context,
            entities=entities,
            semantics=semantics,
        )
        if not deciding.can_answer(min_revision):
            patience_s = deciding.patience_s(timeout_s)
            await programs.wait_covering(min_revision, timeout_s=patience_s)
        results = deciding.evaluate_batch(message, semantics)
        if results is not None:
            return results
        return await self._remote.evaluate_batch(
            items,
            subject=subject,
            action=action,
            resource=resource,
            context=context,
            entities=entities,
            semantics=semantics,
            min_revision=min_revision,
            timeout_s=timeout_s,
        )

    async def __aenter__(self) -> Self:
        self._programs = await self._stack.enter_async_context(
            following_programs(self._destination, self._options)
        )
        self._deciding = Deciding(self._programs, self._options)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop following and deciding."""
        self._deciding = None
        await self._stack.aclose()
        await self._remote.aclose()

    def _opened(self) -> tuple[Programs, Deciding]:
        if self._programs is None or self._deciding is None:
            raise Unavailable("the evaluator is not open; use it in `async with`")
        return self._programs, self._deciding
