"""Policy management, for threads and for asyncio. Mixed into the clients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator

from placet import _convert as convert
from placet import _publishing as building
from placet._calls import Defaults, call, call_aio, pages, pages_aio
from placet._planning import plan_to_wire
from placet._policies import (
    CandidateReport,
    ChangeSet,
    Diff,
    Item,
    ItemKey,
    ItemKind,
    Publication,
    Revision,
    Validation,
)
from placet._requests import Request
from placet._rollouts import RolloutPlan
from placet.v1 import policy_service_pb2_grpc


class Management:
    """Publishing, reading and testing policies.

    ``tenant`` is the client's unless given; ``placet.PLATFORM`` manages what
    applies to every tenant. Besides what is said below, calls raise
    ``InvalidRequest``, ``NotFound``, ``PermissionDenied``, ``DeadlineExceeded``
    and ``Unavailable``.
    """

    _defaults: Defaults
    _managing: policy_service_pb2_grpc.PolicyServiceStub

    def publish(
        self,
        change_set: ChangeSet,
        *,
        tenant: str | None = None,
        expected_revision: int | None = None,
        message: str = "",
        request_id: str | None = None,
        rollout: RolloutPlan | None = None,
        timeout_s: float | None = None,
    ) -> Publication:
        """Commit a change set as one revision, if the whole resulting set compiles.

        Args:
            change_set: the edits.
            tenant: whose policies; it comes into being with its first publish.
            expected_revision: commit only on top of this revision, 0 for a tenant that
                must not exist yet. Without, on top of whatever there is.
            message: why, for the history.
            request_id: makes repeats harmless; a new one unless given.
            rollout: how the revision reaches nodes and subjects; at once without. The
                publication then has the ``rollout_id``.
            timeout_s: deadline, when it is not the client's.

        Raises:
            InvalidRequest: ``violations`` name each problem; nothing was stored.
            Conflict: the tenant is at another revision, which is ``actual``.
            FailedPrecondition: a rollout of the tenant's is under way.
            DeadlineExceeded: it may have been committed; repeat with the same
                ``request_id`` to find out.
        """
        request = building.publish_request(
            self._defaults.tenant_or(tenant),
            change_set,
            expected_revision=expected_revision,
            message=message,
            request_id=request_id,
            rollout=plan_to_wire(rollout, "rollout") if rollout is not None else None,
        )
        response = call(self._managing.Publish, request, self._defaults.managing_s(timeout_s))
        return convert.publication(response)

    def validate(
        self, change_set: ChangeSet, *, tenant: str | None = None, timeout_s: float | None = None
    ) -> Validation:
        """Check a change set as ``publish`` does, without committing it. Problems are an answer."""
        request = building.validate_request(self._defaults.tenant_or(tenant), change_set)
        response = call(self._managing.Validate, request, self._defaults.managing_s(timeout_s))
        return convert.validation(response)

    def get(
        self,
        keys: Iterable[ItemKey],
        *,
        tenant: str | None = None,
        revision: int = 0,
        timeout_s: float | None = None,
    ) -> list[Item]:
        """Return up to 1,000 items by key, as they are or as they were at a revision.

        Raises:
            NotFound: one of them is not there.
        """
        request = building.get_request(self._defaults.tenant_or(tenant), keys, revision)
        response = call(self._managing.Get, request, self._defaults.managing_s(timeout_s))
        return convert.items(response.items)

    def list_items(
        self,
        *,
        tenant: str | None = None,
        kinds: Iterable[ItemKind] = (),
        id_prefix: str = "",
        revision: int = 0,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[Item]:
        """List a tenant's items by kind and id, all of one revision, page by page."""
        request = building.list_request(
            self._defaults.tenant_or(tenant),
            kinds=kinds,
            id_prefix=id_prefix,
            revision=revision,
            page_size=page_size,
        )
        for page in pages(self._managing.List, request, self._defaults.managing_s(timeout_s)):
            yield from convert.items(page.items)

    def history(
        self,
        *,
        tenant: str | None = None,
        key: ItemKey | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[Revision]:
        """List what happened to a tenant, or to one of its items, newest first."""
        request = building.history_request(self._defaults.tenant_or(tenant), key, page_size)
        for page in pages(self._managing.History, request, self._defaults.managing_s(timeout_s)):
            yield from map(convert.revision, page.revisions)

    def diff(
        self,
        from_revision: int,
        to_revision: int = 0,
        *,
        tenant: str | None = None,
        timeout_s: float | None = None,
    ) -> Diff:
        """Return the changes that lead from one revision to another, or to the newest.

        Raises:
            OutOfRange: one of them is no longer, or not yet, there.
        """
        request = building.diff_request(
            self._defaults.tenant_or(tenant), from_revision, to_revision
        )
        response = call(self._managing.Diff, request, self._defaults.managing_s(timeout_s))
        return convert.diff(response)

    def test(
        self,
        requests: Iterable[Request],
        change_set: ChangeSet | None = None,
        *,
        tenant: str | None = None,
        timeout_s: float | None = None,
    ) -> CandidateReport:
        """Decide up to 1,000 requests as if a change set were published.

        Raises:
            InvalidRequest: the change set does not compile, or a request is malformed.
        """
        request = building.candidate_request(self._defaults.tenant_or(tenant), requests, change_set)
        response = call(self._managing.Test, request, self._defaults.managing_s(timeout_s))
        return convert.candidate_report(response)


class AsyncManagement:
    """Publishing, reading and testing policies: ``Management``, for asyncio."""

    _defaults: Defaults

    @property
    @abstractmethod
    def _managing(self) -> policy_service_pb2_grpc.PolicyServiceAsyncStub: ...

    async def publish(
        self,
        change_set: ChangeSet,
        *,
        tenant: str | None = None,
        expected_revision: int | None = None,
        message: str = "",
        request_id: str | None = None,
        rollout: RolloutPlan | None = None,
        timeout_s: float | None = None,
    ) -> Publication:
        """Commit a change set as one revision, if the whole resulting set compiles."""
        request = building.publish_request(
            self._defaults.tenant_or(tenant),
            change_set,
            expected_revision=expected_revision,
            message=message,
            request_id=request_id,
            rollout=plan_to_wire(rollout, "rollout") if rollout is not None else None,
        )
        response = await call_aio(
            self._managing.Publish, request, self._defaults.managing_s(timeout_s)
        )
        return convert.publication(response)

    async def validate(
        self, change_set: ChangeSet, *, tenant: str | None = None, timeout_s: float | None = None
    ) -> Validation:
        """Check a change set as ``publish`` does, without committing it."""
        request = building.validate_request(self._defaults.tenant_or(tenant), change_set)
        response = await call_aio(
            self._managing.Validate, request, self._defaults.managing_s(timeout_s)
        )
        return convert.validation(response)

    async def get(
        self,
        keys: Iterable[ItemKey],
        *,
        tenant: str | None = None,
        revision: int = 0,
        timeout_s: float | None = None,
    ) -> list[Item]:
        """Return up to 1,000 items by key."""
        request = building.get_request(self._defaults.tenant_or(tenant), keys, revision)
        response = await call_aio(self._managing.Get, request, self._defaults.managing_s(timeout_s))
        return convert.items(response.items)

    async def list_items(
        self,
        *,
        tenant: str | None = None,
        kinds: Iterable[ItemKind] = (),
        id_prefix: str = "",
        revision: int = 0,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Item]:
        """List a tenant's items by kind and id, all of one revision, page by page."""
        request = building.list_request(
            self._defaults.tenant_or(tenant),
            kinds=kinds,
            id_prefix=id_prefix,
            revision=revision,
            page_size=page_size,
        )
        async for page in pages_aio(
            self._managing.List, request, self._defaults.managing_s(timeout_s)
        ):
            for item in convert.items(page.items):
                yield item

    async def history(
        self,
        *,
        tenant: str | None = None,
        key: ItemKey | None = None,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Revision]:
        """List what happened to a tenant, or to one of its items, newest first."""
        request = building.history_request(self._defaults.tenant_or(tenant), key, page_size)
        async for page in pages_aio(
            self._managing.History, request, self._defaults.managing_s(timeout_s)
        ):
            for revision in page.revisions:
                yield convert.revision(revision)

    async def diff(
        self,
        from_revision: int,
        to_revision: int = 0,
        *,
        tenant: str | None = None,
        timeout_s: float | None = None,
    ) -> Diff:
        """Return the changes that lead from one revision to another, or to the newest."""
        request = building.diff_request(
            self._defaults.tenant_or(tenant), from_revision, to_revision
        )
        response = await call_aio(
            self._managing.Diff, request, self._defaults.managing_s(timeout_s)
        )
        return convert.diff(response)

    async def test(
        self,
        requests: Iterable[Request],
        change_set: ChangeSet | None = None,
        *,
        tenant: str | None = None,
        timeout_s: float | None = None,
    ) -> CandidateReport:
        """Decide up to 1,000 requests as if a change set were published."""
        request = building.candidate_request(self._defaults.tenant_or(tenant), requests, change_set)
        response = await call_aio(
            self._managing.Test, request, self._defaults.managing_s(timeout_s)
        )
        return convert.candidate_report(response)
