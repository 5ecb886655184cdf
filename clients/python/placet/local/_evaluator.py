"""Local evaluation for threads. An event loop in the background follows the policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc

from placet import _requests as building
from placet._balancing.options import Balancing
from placet._channel import ChannelOptions, Destination, Dialing, Target
from placet._client import Client
from placet._credentials import Credentials
from placet._decisions import Decision
from placet._enforcing import Enforcement
from placet._errors import DecisionError, PlacetError, Unavailable
from placet._freshness import State, StateChange, Status
from placet._loop_thread import LoopThread, background_loop
from placet._requests import ActionLike, BatchSemantics, Request, ResourceLike, SubjectLike
from placet._values import Attributes, Entity
from placet.local._deciding import Deciding
from placet.local._exact import exact_key
from placet.local._options import LocalOptions, WhenStale
from placet.local._programs import Programs, following_programs


class LocalEvaluator(Enforcement):
    """Decides in this process, by policies that follow the server's. Thread-safe.

    A context manager: within it, policies are followed in the background.
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
        """Prepare to follow a tenant's policies.

        Args:
            target: where the server is, or several, as for ``placet.Client``: one that goes
                away is followed on at another, from where it left off.
            tenant: whose policies decide.
            max_staleness_s: past this, ``when_stale`` says what happens.
            when_stale: ``raise`` StaleNode, ``serve`` marked answers, or ask ``remote``.
            start_timeout_s: how long the first calls wait for the first policies.
            timeout_s: how long a call waits for its ``min_revision``, or for the server.
            cache_entries: how many answers are kept; all go with the next revision.
            stale_after_s: without a sign of life for this long the connection is made anew.
            subscriber: name for the operators' lists, such as ``orders-api/7f9c``.
            region: where this process is, which the tenant's residency must allow.
            balancing: how to choose between several.
            credentials: how to know the server and prove who calls: ``Credentials``, or gRPC's own;
                plain text without.
            options: gRPC channel arguments, over this package's own.
            on_state_change: called from another thread; must not block.
        """
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
        self._remote = Client(
            target,
            tenant=tenant,
            timeout_s=timeout_s,
            balancing=balancing,
            credentials=credentials,
            options=options,
        )
        self._stack = AsyncExitStack()
        self._loop: LoopThread | None = None
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

    def wait_ready(self, *, timeout_s: float = 10.0) -> None:
        """Wait until the newest policies are in use.

        Raises:
            DeadlineExceeded: they were not, in time.
            PlacetError: what makes waiting pointless, such as ``NotFound`` for the tenant.
        """
        loop, programs, _ = self._opened()
        loop.run(programs.wait_ready(timeout_s=timeout_s))

    def evaluate(
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
        """Decide whether a subject may do an action on a resource; see ``placet.Client.evaluate``.

        Raises:
            InvalidRequest: the request is wrong; ``violations`` say where.
            StaleNode: what is known is older than allowed, and ``when_stale`` is ``raise``.
            CouldNotDecide: there are no policies yet, or not of ``min_revision``, which has
                to be a revision of this tenant or the platform.
        """
        loop, programs, deciding = self._opened()
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
            loop.run(programs.wait_covering(min_revision, timeout_s=patience_s))
        decision = deciding.evaluate(message, key)
        if decision is not None:
            return decision
        return self._remote.evaluate(
            subject,
            action,
            resource,
            context,
            entities=entities,
            permit=permit,
            min_revision=min_revision,
            timeout_s=timeout_s,
        )

    def evaluate_batch(
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
        loop, programs, deciding = self._opened()
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
            loop.run(programs.wait_covering(min_revision, timeout_s=patience_s))
        results = deciding.evaluate_batch(message, semantics)
        if results is not None:
            return results
        return self._remote.evaluate_batch(
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

    def __enter__(self) -> Self:
        self._loop = background_loop()
        self._programs = self._loop.run(
            self._stack.enter_async_context(following_programs(self._destination, self._options))
        )
        self._deciding = Deciding(self._programs, self._options)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following and deciding."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.run(self._stack.aclose())
        self._remote.close()

    def _opened(self) -> tuple[LoopThread, Programs, Deciding]:
        if self._loop is None or self._programs is None or self._deciding is None:
            raise Unavailable("the evaluator is not open; use it in `with`")
        return self._loop, self._programs, self._deciding
