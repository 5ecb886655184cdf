"""Letting something happen only if it is allowed, and as it is allowed.

``enforce`` turns a decision into control flow: the block runs on an allow
whose obligations are all understood, and on nothing else. Whatever has an
``evaluate`` can enforce: the clients and the local evaluators.
"""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeAlias, TypedDict, TypeVar, Unpack

from placet._decisions import Decision, Outcome
from placet._errors import ApprovalRequired, Denied, UnknownObligation
from placet._requests import ActionLike, ResourceLike, SubjectLike
from placet._values import Attributes, Entity

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Obligation:
    """One obligation of a decision: ``redact:ssn`` has name ``redact`` and argument ``ssn``."""

    name: str
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> Obligation:
        """Split at the first colon."""
        name, _, argument = text.partition(":")
        return cls(name, argument)


ObligationHandler: TypeAlias = Callable[[Obligation], object]
AsyncObligationHandler: TypeAlias = Callable[[Obligation], "Awaitable[object] | object"]
H = TypeVar("H")
Given: TypeAlias = "T | Callable[..., T]"
"""A value, or a function that gets the arguments of the call and returns the value."""


class EvaluateOptions(TypedDict, total=False):
    """What ``evaluate`` takes beyond who, what and on what."""

    tenant: str | None
    entities: Iterable[Entity]
    permit: str
    min_revision: int
    timeout_s: float | None


def check(
    decision: Decision, handlers: Mapping[str, H | None], understands: Iterable[str]
) -> list[tuple[H, Obligation]]:
    """Return which handlers are to be called before the action, all of them found beforehand.

    An obligation is looked up as it stands and then by its name, so that a
    handler for ``redact`` takes ``redact:ssn``. None, like being listed in
    ``understands``, means that the caller sees to it.

    Raises:
        Denied: the decision is a denial.
        ApprovalRequired: somebody's yes is missing.
        UnknownObligation: an obligation is not understood. Doubt denies.
    """
    if decision.outcome is Outcome.REQUIRES_APPROVAL:
        raise ApprovalRequired(decision)
    if not decision.allowed:
        raise Denied(decision)
    by_itself = [understands] if isinstance(understands, str) else understands
    known: dict[str, H | None] = {**dict.fromkeys(by_itself), **handlers}
    calls = []
    for text in decision.obligations:
        obligation = Obligation.parse(text)
        key = text if text in known else obligation.name
        if key not in known:
            raise UnknownObligation(decision, text)
        handler = known[key]
        if handler is not None:
            calls.append((handler, obligation))
    return calls


class Enforcement:
    """``enforce`` and ``enforced`` for what evaluates in the calling thread."""

    @abstractmethod
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
    ) -> Decision: ...

    @contextmanager
    def enforce(
        self,
        subject: SubjectLike,
        action: ActionLike,
        resource: ResourceLike,
        context: Attributes | None = None,
        *,
        obligations: Mapping[str, ObligationHandler | None] | None = None,
        understands: Iterable[str] = (),
        **options: Unpack[EvaluateOptions],
    ) -> Iterator[Decision]:
        """Run a block only if it is allowed: ``with client.enforce(...) as decision:``.

        Args:
            subject: who asks; as are action, resource and context, see ``evaluate``.
            action: what the subject wants to do.
            resource: what it is done to.
            context: circumstances of the request.
            obligations: handlers by obligation (``redact:ssn``) or name (``redact``),
                called before the block with an ``Obligation``. None: the block does it.
            understands: obligations or names the block sees to by itself.
            **options: what ``evaluate`` takes besides.

        Raises:
            Denied: the decision is a denial.
            ApprovalRequired: somebody's yes is missing.
            UnknownObligation: the allow has an obligation nobody here understands.
            PlacetError: there is no decision; see ``evaluate``.
        """
        decision = self.evaluate(subject, action, resource, context, **options)
        for handler, obligation in check(decision, obligations or {}, understands):
            handler(obligation)
        yield decision

    def enforced(
        self,
        *,
        subject: Given[SubjectLike],
        action: Given[ActionLike],
        resource: Given[ResourceLike],
        context: Given[Attributes] | None = None,
        obligations: Mapping[str, ObligationHandler | None] | None = None,
        understands: Iterable[str] = (),
        **options: Unpack[EvaluateOptions],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Let a function run only if it is allowed: ``@client.enforced(...)``.

        Each of subject, action, resource and context is a value, or a
        function of the arguments the decorated function is called with:
        ``resource=lambda invoice_id: ("Invoice", invoice_id)``. Raises as
        ``enforce`` does.
        """
        understood = understands if isinstance(understands, str) else tuple(understands)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if inspect.iscoroutinefunction(function):
                raise TypeError(
                    f"`{function.__name__}` is async, and asking would block its event loop; "
                    "use `placet.aio`"
                )

            @functools.wraps(function)
            def checked(*args: P.args, **kwargs: P.kwargs) -> R:
                with self.enforce(
                    *_question(subject, action, resource, context, args, kwargs),
                    obligations=obligations,
                    understands=understood,
                    **options,
                ):
                    return function(*args, **kwargs)

            return checked

        return decorate


class AsyncEnforcement:
    """``enforce`` and ``enforced`` for what evaluates in an event loop."""

    @abstractmethod
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
    ) -> Decision: ...

    @asynccontextmanager
    async def enforce(
        self,
        subject: SubjectLike,
        action: ActionLike,
        resource: ResourceLike,
        context: Attributes | None = None,
        *,
        obligations: Mapping[str, AsyncObligationHandler | None] | None = None,
        understands: Iterable[str] = (),
        **options: Unpack[EvaluateOptions],
    ) -> AsyncIterator[Decision]:
        """Run a block only if it is allowed: ``async with client.enforce(...) as decision:``.

        As ``placet.Client.enforce``; handlers may be coroutine functions.
        """
        decision = await self.evaluate(subject, action, resource, context, **options)
        for handler, obligation in check(decision, obligations or {}, understands):
            done = handler(obligation)
            if inspect.isawaitable(done):
                await done
        yield decision

    def enforced(
        self,
        *,
        subject: Given[SubjectLike],
        action: Given[ActionLike],
        resource: Given[ResourceLike],
        context: Given[Attributes] | None = None,
        obligations: Mapping[str, AsyncObligationHandler | None] | None = None,
        understands: Iterable[str] = (),
        **options: Unpack[EvaluateOptions],
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
        """Let a coroutine function run only if it is allowed; see ``placet.Client.enforced``."""
        understood = understands if isinstance(understands, str) else tuple(understands)

        def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
            @functools.wraps(function)
            async def checked(*args: P.args, **kwargs: P.kwargs) -> R:
                async with self.enforce(
                    *_question(subject, action, resource, context, args, kwargs),
                    obligations=obligations,
                    understands=understood,
                    **options,
                ):
                    return await function(*args, **kwargs)

            return checked

        return decorate


def _question(
    subject: Given[SubjectLike],
    action: Given[ActionLike],
    resource: Given[ResourceLike],
    context: Given[Attributes] | None,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> tuple[SubjectLike, ActionLike, ResourceLike, Attributes | None]:
    """Fill in what depends on the arguments of the decorated function."""
    return (
        subject(*args, **kwargs) if callable(subject) else subject,
        action(*args, **kwargs) if callable(action) else action,
        resource(*args, **kwargs) if callable(resource) else resource,
        context(*args, **kwargs) if callable(context) else context,
    )
