"""What callers can be allowed, in a few words."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """One thing that callers can be allowed, for tenants and for the platform."""

    DECIDE = "decide"
    """Ask for decisions, and for what somebody is allowed."""
    READ = "read"
    """See policies, entities, history, rollouts, placements, agents and records."""
    PUBLISH = "publish"
    """Change policies and entities, at once or by a rollout, and steer rollouts."""
    APPROVE = "approve"
    """Say yes or no to rollouts and to agents' actions."""
    OPERATE = "operate"
    """Place tenants, drain nodes, register and stop agents, stop rollouts."""
    ACT = "act"
    """Be an agent: propose actions, run them, report."""
    NODE = "node"
    """Be a node: hold a lease, follow every tenant, report what was measured."""
