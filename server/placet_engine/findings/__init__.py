"""Finds policies that have no part in decisions, or not the part they seem to have.

What is found is certain, whatever entities and requests there are: a policy that has a part in a
single case is not among it. So stored entities are not looked at; of what is in what, only a
schema's groups of actions are known. Policies under ``@mode("log_only")`` are held against no
others: they decide nothing, and what they are tried out for is often to take another's place.
"""

from __future__ import annotations

from placet_engine.findings.comparing import Kind
from placet_engine.findings.search import Change, Finding, find
from placet_engine.findings.telling import MOST, to_problems

__all__ = ["MOST", "Change", "Finding", "Kind", "find", "to_problems"]
