"""Starting, steering and watching rollouts, for threads and for asyncio. Mixed into the clients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import aclosing, closing

from placet import _convert as convert
from placet import _planning as building
from placet._calls import Defaults, call, call_aio, pages, pages_aio
from placet._policies import ChangeSet, StartedRollout
from placet._requests import tenant_to_wire
from placet._rollouts import NodeRevision, NodeRevisions, Rollout, RolloutPlan, RolloutState
from placet._values import text_to_wire
from placet._watching import PATIENCE_S, watched, watched_aio
from placet.v1 import rollout_service_pb2 as pb
from placet.v1 import rollout_service_pb2_grpc


class Rollouts:
    """Starting, steering and watching rollouts, and who runs what.

    ``tenant`` is the client's unless given; ``placet.PLATFORM`` is what applies to every
    tenant. A ``Rollout`` that is passed brings its own tenant, and what is done rests on it:
    ``Conflict`` when it has changed since it was read. Its id alone means whatever has become
    of it. Who does it is the client's ``actor``, as the client says.

    Besides what is said below, calls raise ``InvalidRequest``, ``NotFound`` (unknown tenant or
    rollout), ``FailedPrecondition`` (not in the rollout's state), ``PermissionDenied``,
    ``DeadlineExceeded`` and ``Unavailable``. What changes a rollout carries a ``request_id``,
    a new one unless given, and repeats with the same one change nothing more.
    """

    _defaults: Defaults
    _rolling: rollout_service_pb2_grpc.RolloutServiceStub

    def start_rollout(
        self,
        change_set: ChangeSet | None = None,
        *,
        restore_revision: int | None = None,
        plan: RolloutPlan | None = None,
        tenant: str | None = None,
        expected_revision: int | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> StartedRollout:
        """Check a candidate as ``publish`` does, and put it on its way.

        Args:
            change_set: what the candidate changes.
            restore_revision: instead of that, the revision whose content it brings back.
            plan: how it goes: ``Canary``, ``Scheduled``, ``Manual``; immediate without.
            tenant: whose policies.
            expected_revision: start only on top of this revision, 0 for a tenant that must
                not exist yet. Without, on top of whatever there is.
            message: why, for the history.
            request_id: makes repeats harmless.
            timeout_s: deadline, when it is not the client's.

        Raises:
            InvalidRequest: ``violations`` name each problem of the candidate or the plan;
                nothing was stored.
            FailedPrecondition: the tenant has a rollout under way, whose id is in
                ``metadata["rollout_id"]``, or the candidate changes nothing.
            OutOfRange: the revision to restore is no longer, or not yet, there.
            Conflict: the tenant is at another revision, which is ``actual``.
        """
        request = building.start_request(
            self._defaults.tenant_or(tenant),
            change_set,
            restore_revision,
            plan,
            expected_revision=expected_revision,
            message=message,
            request_id=request_id,
        )
        response = call(self._rolling.StartRollout, request, self._defaults.managing_s(timeout_s))
        return convert.started_rollout(response)

    def approve_rollout(
        self,
        rollout: Rollout,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Let a rollout that waits for approval go ahead. The yes is to the rollout as read.

        Raises:
            PermissionDenied: the actor is its author, in none of the plan's groups, or unknown.
        """
        wish = self._wish(rollout, tenant, message, request_id)
        response = call(
            self._rolling.ApproveRollout,
            pb.ApproveRolloutRequest(**wish),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    def pause_rollout(
        self,
        rollout: Rollout | str,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Hold a running rollout at its step. A guard that is breached still rolls it back."""
        wish = self._wish(rollout, tenant, message, request_id)
        response = call(
            self._rolling.PauseRollout,
            pb.PauseRolloutRequest(**wish),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    def resume_rollout(
        self,
        rollout: Rollout | str,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Let a paused rollout go on. Its step is baked anew."""
        wish = self._wish(rollout, tenant, message, request_id)
        response = call(
            self._rolling.ResumeRollout,
            pb.ResumeRolloutRequest(**wish),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    def promote_rollout(
        self,
        rollout: Rollout,
        *,
        all_steps: bool = False,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Take the next step, or all that are left, without waiting for time or samples.

        A rollout that waits for its time starts; one that waits for approval does not.

        Raises:
            FailedPrecondition: also while a guard is breached.
        """
        wish = self._wish(rollout, tenant, message, request_id)
        response = call(
            self._rolling.PromoteRollout,
            pb.PromoteRolloutRequest(**wish, all_steps=all_steps),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    def roll_back(
        self,
        rollout: Rollout | str,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Give everything back to the stable revision; also refuses what has not begun.

        Raises:
            FailedPrecondition: it has ended. A completed one is undone by ``start_rollout``
                with its ``stable_revision`` as ``restore_revision``.
        """
        wish = self._wish(rollout, tenant, message, request_id)
        response = call(
            self._rolling.RollBack, pb.RollBackRequest(**wish), self._defaults.managing_s(timeout_s)
        )
        return convert.rollout(response.rollout)

    def get_rollout(
        self, rollout_id: str = "", *, tenant: str | None = None, timeout_s: float | None = None
    ) -> Rollout:
        """Return one rollout; without an id, the one under way, or else the newest."""
        request = pb.GetRolloutRequest(
            tenant=tenant_to_wire(self._defaults.tenant_or(tenant)),
            rollout_id=text_to_wire(rollout_id, "rollout_id"),
        )
        response = call(self._rolling.GetRollout, request, self._defaults.managing_s(timeout_s))
        return convert.rollout(response.rollout)

    def list_rollouts(
        self,
        *,
        tenant: str | None = None,
        states: Iterable[RolloutState] = (),
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[Rollout]:
        """List a tenant's rollouts, newest first, ended ones too, page by page."""
        request = building.list_request(self._defaults.tenant_or(tenant), states, page_size)
        for page in pages(
            self._rolling.ListRollouts, request, self._defaults.managing_s(timeout_s)
        ):
            yield from map(convert.rollout, page.rollouts)

    def watch_rollout(
        self, rollout_id: str = "", *, tenant: str | None = None, patience_s: float = PATIENCE_S
    ) -> Generator[Rollout, None, None]:
        """Yield a rollout as it is, and again whenever it changes, at least every 5 s.

        Ends after the final state; close the iterator to end before. What changed between two
        of them may be missed, never the newest. A connection that is lost is made anew.

        Args:
            rollout_id: which; without, the one under way, or else the newest.
            tenant: whose.
            patience_s: how long nobody may answer before it raises.

        Raises:
            Unavailable, DeadlineExceeded: nobody answered for ``patience_s``.
        """
        request = _watch_request(self._defaults.tenant_or(tenant), rollout_id)
        seen = watched(self._rolling.WatchRollout, request, patience_s, ended=_ENDED_EARLY)
        with closing(seen) as responses:
            for _, response in responses:
                rollout = convert.watched_rollout(response)
                request.rollout_id = rollout.id
                yield rollout
                if rollout.state.is_final:
                    return

    def node_revisions(
        self, *, tenant: str | None = None, region: str = "", timeout_s: float | None = None
    ) -> NodeRevisions:
        """Return who runs what: each node that may hold the tenant's policies.

        Args:
            tenant: whose policies.
            region: only nodes of this region.
            timeout_s: deadline of each page, when it is not the client's.
        """
        request = _nodes_request(self._defaults.tenant_or(tenant), region)
        timeout_s = self._defaults.managing_s(timeout_s)
        nodes: list[NodeRevision] = []
        revision = 0
        for page in pages(self._rolling.ListNodeRevisions, request, timeout_s):
            nodes += map(convert.node_revision, page.nodes)
            revision = page.revision
        return NodeRevisions(revision, tuple(nodes))

    def _wish(
        self, rollout: Rollout | str, tenant: str | None, message: str, request_id: str | None
    ) -> building.Steering:
        return building.steering(
            tenant, self._defaults.tenant, rollout, message=message, request_id=request_id
        )


class AsyncRollouts:
    """Starting, steering and watching rollouts: ``Rollouts``, for asyncio."""

    _defaults: Defaults

    @property
    @abstractmethod
    def _rolling(self) -> rollout_service_pb2_grpc.RolloutServiceAsyncStub: ...

    async def start_rollout(
        self,
        change_set: ChangeSet | None = None,
        *,
        restore_revision: int | None = None,
        plan: RolloutPlan | None = None,
        tenant: str | None = None,
        expected_revision: int | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> StartedRollout:
        """Check a candidate as ``publish`` does, and put it on its way."""
        request = building.start_request(
            self._defaults.tenant_or(tenant),
            change_set,
            restore_revision,
            plan,
            expected_revision=expected_revision,
            message=message,
            request_id=request_id,
        )
        response = await call_aio(
            self._rolling.StartRollout, request, self._defaults.managing_s(timeout_s)
        )
        return convert.started_rollout(response)

    async def approve_rollout(
        self,
        rollout: Rollout,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Let a rollout that waits for approval go ahead. The yes is to the rollout as read."""
        wish = self._wish(rollout, tenant, message, request_id)
        response = await call_aio(
            self._rolling.ApproveRollout,
            pb.ApproveRolloutRequest(**wish),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    async def pause_rollout(
        self,
        rollout: Rollout | str,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Hold a running rollout at its step. A guard that is breached still rolls it back."""
        wish = self._wish(rollout, tenant, message, request_id)
        response = await call_aio(
            self._rolling.PauseRollout,
            pb.PauseRolloutRequest(**wish),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    async def resume_rollout(
        self,
        rollout: Rollout | str,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Let a paused rollout go on. Its step is baked anew."""
        wish = self._wish(rollout, tenant, message, request_id)
        response = await call_aio(
            self._rolling.ResumeRollout,
            pb.ResumeRolloutRequest(**wish),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    async def promote_rollout(
        self,
        rollout: Rollout,
        *,
        all_steps: bool = False,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Take the next step, or all that are left, without waiting for time or samples."""
        wish = self._wish(rollout, tenant, message, request_id)
        response = await call_aio(
            self._rolling.PromoteRollout,
            pb.PromoteRolloutRequest(**wish, all_steps=all_steps),
            self._defaults.managing_s(timeout_s),
        )
        return convert.rollout(response.rollout)

    async def roll_back(
        self,
        rollout: Rollout | str,
        *,
        tenant: str | None = None,
        message: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Rollout:
        """Give everything back to the stable revision; also refuses what has not begun."""
        wish = self._wish(rollout, tenant, message, request_id)
        response = await call_aio(
            self._rolling.RollBack, pb.RollBackRequest(**wish), self._defaults.managing_s(timeout_s)
        )
        return convert.rollout(response.rollout)

    async def get_rollout(
        self, rollout_id: str = "", *, tenant: str | None = None, timeout_s: float | None = None
    ) -> Rollout:
        """Return one rollout; without an id, the one under way, or else the newest."""
        request = pb.GetRolloutRequest(
            tenant=tenant_to_wire(self._defaults.tenant_or(tenant)),
            rollout_id=text_to_wire(rollout_id, "rollout_id"),
        )
        response = await call_aio(
            self._rolling.GetRollout, request, self._defaults.managing_s(timeout_s)
        )
        return convert.rollout(response.rollout)

    async def list_rollouts(
        self,
        *,
        tenant: str | None = None,
        states: Iterable[RolloutState] = (),
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Rollout]:
        """List a tenant's rollouts, newest first, ended ones too, page by page."""
        request = building.list_request(self._defaults.tenant_or(tenant), states, page_size)
        async for page in pages_aio(
            self._rolling.ListRollouts, request, self._defaults.managing_s(timeout_s)
        ):
            for message in page.rollouts:
                yield convert.rollout(message)

    async def watch_rollout(
        self, rollout_id: str = "", *, tenant: str | None = None, patience_s: float = PATIENCE_S
    ) -> AsyncGenerator[Rollout, None]:
        """Yield a rollout as it is, and again whenever it changes, at least every 5 s."""
        request = _watch_request(self._defaults.tenant_or(tenant), rollout_id)
        seen = watched_aio(self._rolling.WatchRollout, request, patience_s, ended=_ENDED_EARLY)
        async with aclosing(seen) as responses:
            async for _, response in responses:
                rollout = convert.watched_rollout(response)
                request.rollout_id = rollout.id
                yield rollout
                if rollout.state.is_final:
                    return

    async def node_revisions(
        self, *, tenant: str | None = None, region: str = "", timeout_s: float | None = None
    ) -> NodeRevisions:
        """Return who runs what: each node that may hold the tenant's policies."""
        request = _nodes_request(self._defaults.tenant_or(tenant), region)
        timeout_s = self._defaults.managing_s(timeout_s)
        nodes: list[NodeRevision] = []
        revision = 0
        async for page in pages_aio(self._rolling.ListNodeRevisions, request, timeout_s):
            nodes += map(convert.node_revision, page.nodes)
            revision = page.revision
        return NodeRevisions(revision, tuple(nodes))

    def _wish(
        self, rollout: Rollout | str, tenant: str | None, message: str, request_id: str | None
    ) -> building.Steering:
        return building.steering(
            tenant, self._defaults.tenant, rollout, message=message, request_id=request_id
        )


def _watch_request(tenant: str | None, rollout_id: str) -> pb.WatchRolloutRequest:
    return pb.WatchRolloutRequest(
        tenant=tenant_to_wire(tenant), rollout_id=text_to_wire(rollout_id, "rollout_id")
    )


def _nodes_request(tenant: str | None, region: str) -> pb.ListNodeRevisionsRequest:
    return pb.ListNodeRevisionsRequest(
        tenant=tenant_to_wire(tenant), region=text_to_wire(region, "region"), page_size=1000
    )


_ENDED_EARLY = "the stream ended before the rollout did"
