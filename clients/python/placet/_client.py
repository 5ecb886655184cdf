"""The client for threads.

Thin: what is sent is built in ``_requests.py``, ``_publishing.py`` and ``_planning.py``, what
comes back is read in ``_convert.py``, and errors are told apart in
``_status.py``. ``aio.py`` is the same for asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import Self, cast

import grpc

from placet import _convert as convert
from placet import _requests as building
from placet._balancing.endpoints import EndpointStatistics
from placet._balancing.options import Balancing
from placet._callers import caller_metadata
from placet._calls import Defaults, call, pages
from placet._channel import ChannelOptions, Destination, Dialing, Target
from placet._credentials import Credentials
from placet._decisions import Decision, Explanation, SearchHit
from placet._enforcing import Enforcement
from placet._errors import DeadlineExceeded, DecisionError
from placet._freshness import StateChange
from placet._managing import Management
from placet._mirror import ITEMS
from placet._opening import following, subscribe_request
from placet._operating import Operations
from placet._overseeing import Oversight
from placet._placing import Placements
from placet._policies import Item, ItemKind
from placet._requests import (
    ActionLike,
    AnyOf,
    BatchSemantics,
    Request,
    ResourceLike,
    SubjectLike,
)
from placet._rolling import Rollouts
from placet._streaming import builder, evaluate_in_threads
from placet._subscription import FollowOptions
from placet._sync_subscription import Subscription
from placet._values import Attributes, Entity
from placet.v1 import (
    evaluate_service_pb2,
    evaluate_service_pb2_grpc,
    node_service_pb2_grpc,
    policy_service_pb2_grpc,
    rollout_service_pb2_grpc,
    topology_service_pb2_grpc,
)


class Client(Enforcement, Management, Operations, Oversight, Placements, Rollouts):
    """Asks a Placet server for decisions, and manages policies there. Thread-safe.

    Every call has a deadline, and may raise any ``PlacetError`` but
    ``NotAllowed``. Calls that can be repeated without harm are, up to three
    times in all, when nobody answers.
    """

    def __init__(
        self,
        target: Target,
        *,
        tenant: str | None = None,
        timeout_s: float = 1.0,
        management_timeout_s: float = 30.0,
        actor: str = "",
        groups: Iterable[str] = (),
        balancing: Balancing | None = None,
        credentials: grpc.ChannelCredentials | Credentials | None = None,
        options: ChannelOptions = (),
    ) -> None:
        """Prepare to talk to a server; the first call connects.

        Args:
            target: where it is: ``localhost:7717``, ``dns:///placet.internal:7717``. Or where
                they are, and calls are balanced over them: ``eu1:7717,eu2:7717``, a sequence of
                addresses or ``Endpoint``, ``Dns``, ``Topology``.
            tenant: whose policies decide, for calls that do not say.
            timeout_s: deadline of a call for decisions, for calls that do not say.
            management_timeout_s: the same for calls about policies, rollouts and nodes,
                which may take longer.
            actor: who calls, for the history, and for approvals, which authors cannot give
                themselves. Where a server wants that proved, ``credentials`` do it, and this is
                best left out: it refuses who says something else.
            groups: the groups the actor is in, for approvals that need one; the same holds.
            balancing: how to choose between endpoints, when there are several; one target with
                it is an endpoint too, with ``attempts`` and statistics.
            credentials: how to know the server and prove who calls: ``Credentials``, or gRPC's own;
                plain text without.
            options: gRPC channel arguments, over this package's own.
        """
        self._defaults = Defaults(
            tenant=tenant, timeout_s=timeout_s, management_timeout_s=management_timeout_s
        )
        dialing = Dialing(credentials, tuple(options), caller_metadata(actor, groups))
        self._destination = Destination(target, dialing, balancing=balancing, tenant=tenant)
        self._balanced = (
            self._destination.open_balanced() if self._destination.is_balanced else None
        )
        self._channel = (
            self._destination.open()
            if self._balanced is None
            else cast("grpc.Channel", self._balanced)
        )
        self._deciding = evaluate_service_pb2_grpc.EvaluateServiceStub(self._channel)
        self._managing = policy_service_pb2_grpc.PolicyServiceStub(self._channel)
        self._operating = node_service_pb2_grpc.NodeServiceStub(self._channel)
        self._rolling = rollout_service_pb2_grpc.RolloutServiceStub(self._channel)
        self._placing = topology_service_pb2_grpc.TopologyServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Subscriptions have their own, and are closed by themselves."""
        self._channel.close()

    def endpoints(self) -> tuple[EndpointStatistics, ...]:
        """Return what can be seen of each endpoint; nothing where there is one plain target."""
        return self._balanced.statistics() if self._balanced is not None else ()

    def wait_ready(self, *, timeout_s: float = 10.0) -> None:
        """Connect now, and wait until a server can answer.

        With several endpoints: until the nearest have been heard of, and one can serve.

        Raises:
            DeadlineExceeded: none could, in time.
        """
        if self._balanced is not None:
            self._balanced.wait_ready(timeout_s)
            return
        try:
            grpc.channel_ready_future(self._channel).result(timeout_s)
        except grpc.FutureTimeoutError as error:
            raise DeadlineExceeded(f"no server can be reached after {timeout_s:g} s") from error

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
        """Ask whether a subject may do an action on a resource.

        A denial is an answer, not an exception. Anything that raises is no
        decision: do not let the action happen.

        Args:
            subject: ``("User", "alice")``, or a ``Subject`` with what is known of it.
            action: its name, or an ``Action``.
            resource: ``("Invoice", "42")``, or a ``Resource`` with what is known of it.
            context: circumstances: time, address, purpose.
            tenant: whose policies decide, when it is not the client's.
            entities: further entities that are known; stored attributes win over theirs.
            permit: leave to do exactly this, given after an approval.
            min_revision: wait, within the deadline, until the node has this revision.
            timeout_s: deadline, when it is not the client's.

        Raises:
            InvalidRequest: the request is wrong; ``violations`` say where.
            NotFound: there is no such tenant.
            WrongRegion: the node may not serve the tenant.
            CouldNotDecide: the request may be good, and no decision came.
        """
        request = building.evaluate_request(
            self._defaults.tenant_or(tenant),
            subject,
            action,
            resource,
            context,
            entities=entities,
            permit=permit,
            min_revision=min_revision,
        )
        response = call(self._deciding.Evaluate, request, self._defaults.deciding_s(timeout_s))
        return convert.decision(response.decision)

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
        """Ask up to 1,000 questions at once, decided by one revision.

        Subject, action, resource, context and entities are defaults for the
        items. Results come in the order of the items; there are fewer when
        the semantics stopped early. A ``DecisionError`` is falsy and stands
        where an item could not be decided.

        Raises:
            InvalidRequest: an item is malformed; nothing was decided.
            PlacetError: as ``evaluate`` does, for the batch as a whole.
        """
        request = building.batch_request(
            self._defaults.tenant_or(tenant),
            items,
            subject=subject,
            action=action,
            resource=resource,
            context=context,
            entities=entities,
            semantics=semantics,
            min_revision=min_revision,
        )
        response = call(self._deciding.EvaluateBatch, request, self._defaults.deciding_s(timeout_s))
        return convert.results(response.results)

    def evaluate_stream(
        self,
        requests: Iterable[tuple[str, Request]],
        *,
        tenant: str | None = None,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> Generator[tuple[str, Decision | DecisionError], None, None]:
        """Ask over one call, and get answers as they are decided, in any order.

        Each request comes with a correlation id of the caller's, unique among
        the unanswered, and each answer with the id of its request. The
        iterable is read by another thread while answers are taken; read the
        iterator to its end, or close it, to end the call.

        Raises:
            DeadlineExceeded: requests are out and no answer came for ``timeout_s``.
            PlacetError: the stream broke; what was not answered is not decided.
        """
        return evaluate_in_threads(
            self._deciding.EvaluateStream,
            requests,
            builder(self._defaults.tenant_or(tenant), min_revision=min_revision),
            timeout_s=self._defaults.deciding_s(timeout_s),
        )

    def explain(
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
    ) -> Explanation:
        """Ask, and get the work behind the decision: for people, not for enforcement.

        Arguments and errors are those of ``evaluate``.
        """
        request = building.evaluate_request(
            self._defaults.tenant_or(tenant),
            subject,
            action,
            resource,
            context,
            entities=entities,
            permit=permit,
            min_revision=min_revision,
        )
        response = call(
            self._deciding.Explain,
            evaluate_service_pb2.ExplainRequest(request=request),
            self._defaults.deciding_s(timeout_s),
        )
        return convert.explanation(response)

    def search(
        self,
        subject: SubjectLike | AnyOf,
        action: ActionLike | AnyOf,
        resource: ResourceLike | AnyOf,
        context: Attributes | None = None,
        *,
        tenant: str | None = None,
        entities: Iterable[Entity] = (),
        min_revision: int = 0,
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[SearchHit]:
        """List the stored subjects, resources or actions for which the request is allowed.

        Exactly one part is an ``AnyOf``: ``resource=AnyOf("Invoice")`` lists
        invoices. Pages of ``page_size`` are fetched as the iterator is read,
        each with a deadline of its own.

        Raises:
            Conflict: the policies changed between two pages; start again.
            PlacetError: as ``evaluate`` does.
        """
        request = building.search_request(
            self._defaults.tenant_or(tenant),
            subject,
            action,
            resource,
            context,
            entities=entities,
            min_revision=min_revision,
            page_size=page_size,
        )
        for page in pages(self._deciding.Search, request, self._defaults.deciding_s(timeout_s)):
            yield from map(convert.search_hit, page.hits)

    def subscribe(
        self,
        *,
        tenant: str | None = None,
        policy_ids: Iterable[str] = (),
        kinds: Iterable[ItemKind] = (),
        subscriber: str = "",
        region: str = "",
        stale_after_s: float = 15.0,
        on_state_change: Callable[[StateChange], None] | None = None,
    ) -> Subscription[Item]:
        """Follow a tenant's policies as they change; use what is returned in ``with``.

        Args:
            tenant: whose; ``""`` for every tenant the caller may see.
            policy_ids: only policies and links of these ids, or with a prefix: ``orders/*``.
            kinds: only items of these kinds.
            subscriber: name for the operators' lists, such as ``orders-api/7f9c``.
            region: where the data goes to, which the tenant's residency must allow.
            stale_after_s: without a sign of life for this long the connection is made
                anew. The server gives one every 5 s.
            on_state_change: called from another thread; must not block.
        """
        request = subscribe_request(
            self._defaults.tenant_or(tenant),
            policy_ids=policy_ids,
            kinds=kinds,
            subscriber=subscriber,
            region=region,
        )
        options = FollowOptions(stale_after_s=stale_after_s, on_state_change=on_state_change)
        return Subscription(lambda: following(self._destination, request, ITEMS, options))
