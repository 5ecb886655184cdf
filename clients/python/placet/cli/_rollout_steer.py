"""``placet rollout approve``, ``pause``, ``resume``, ``promote`` and ``rollback``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

import typer

from placet import Client, Rollout, RolloutState
from placet.cli import items, rollouts, terminal
from placet.cli._rollout_show import RolloutId
from placet.cli.asking import Yes, ask
from placet.cli.candidates import candidate_changes
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Actor,
    Address,
    Groups,
    Json,
    Message,
    Platform,
    Tenant,
    Timeout,
    connected,
    owner,
)


def approve(
    id_: RolloutId = "",
    tenant: Tenant = "",
    platform: Platform = False,
    message: Message = "",
    yes: Yes = False,
    actor: Actor = "",
    groups: Groups = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Let a rollout go ahead that waits for approval, after showing what it changes.

    Not by its author, and only by members of the groups it names. The yes is to what is shown: if
    it changes meanwhile, nothing is approved.
    """
    whose = owner(tenant, platform=platform)
    with connected(
        address, tenant=whose, timeout_s=timeout_s, actor=actor, groups=groups
    ) as client:
        rollout = client.get_rollout(id_)
        if rollout.state is RolloutState.AWAITING_APPROVAL:
            if not as_json:
                _show_candidate(client, rollout)
            if not yes:
                _ask(rollout)
        approved = client.approve_rollout(rollout, message=message)
    _tell(approved, as_json=as_json)


def _show_candidate(client: Client, rollout: Rollout) -> None:
    terminal.out().print(rollouts.view(rollout))
    for line in items.diff_lines(candidate_changes(client, rollout.candidate_revision)):
        terminal.line(line)


def _ask(rollout: Rollout) -> None:
    ask(
        f"approve rollout {rollout.id}?",
        nobody="there is nobody to ask whether to approve it; --yes approves without asking",
        refused="not approved; nothing was changed",
    )


def promote(
    id_: RolloutId = "",
    tenant: Tenant = "",
    platform: Platform = False,
    all_steps: Annotated[
        bool, typer.Option("--all", help="All the steps that are left, not only the next.")
    ] = False,
    message: Message = "",
    actor: Actor = "",
    groups: Groups = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Take the next step now, without waiting for time or samples. Not while a guard is breached.

    A rollout that waits for its time begins.
    """
    whose = owner(tenant, platform=platform)
    with connected(
        address, tenant=whose, timeout_s=timeout_s, actor=actor, groups=groups
    ) as client:
        rollout = client.get_rollout(id_)
        promoted = client.promote_rollout(rollout, all_steps=all_steps, message=message)
    _tell(promoted, as_json=as_json)


_Steer: TypeAlias = Callable[[Client, str, str], Rollout]
"""Has something happen to a rollout, by its id and with a reason."""


def _command(steer: _Steer, description: str) -> Callable[..., None]:
    def command(
        id_: RolloutId = "",
        tenant: Tenant = "",
        platform: Platform = False,
        message: Message = "",
        actor: Actor = "",
        groups: Groups = "",
        address: Address = DEFAULT_ADDRESS,
        timeout_s: Timeout = MANAGING_TIMEOUT_S,
        as_json: Json = False,
    ) -> None:
        whose = owner(tenant, platform=platform)
        with connected(
            address, tenant=whose, timeout_s=timeout_s, actor=actor, groups=groups
        ) as client:
            # By its id alone: whatever has become of it meanwhile, that is what is wanted.
            rollout = steer(client, id_ or client.get_rollout().id, message)
        _tell(rollout, as_json=as_json)

    command.__doc__ = description
    return command


pause = _command(
    lambda client, id_, message: client.pause_rollout(id_, message=message),
    "Hold a rollout at its step. A guard that is breached still rolls it back.",
)
resume = _command(
    lambda client, id_, message: client.resume_rollout(id_, message=message),
    "Let a paused rollout go on. Its step is baked anew.",
)
rollback = _command(
    lambda client, id_, message: client.roll_back(id_, message=message),
    """Give everything back to the stable revision, now. Also refuses what waits for approval.

    A rollout that is completed is undone by `placet rollout start --restore`.
    """,
)


def _tell(rollout: Rollout, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(rollouts.rollout_to_json(rollout))
        return
    if rollout.rollback is not None:
        terminal.out().print(rollouts.report(rollout, rollout.rollback))
    terminal.line(rollouts.summary(rollout))
    terminal.note(rollouts.advice(rollout))
