"""Which law a tenant's data may be under."""

from __future__ import annotations

from enum import IntEnum


class ResidencyRule(IntEnum):
    """Where a tenant's data may be. Numbers are those of ``placet.v1.ResidencyRule``."""

    ANY = 1
    EU_ONLY = 2
    US_ONLY = 3
    APAC_ONLY = 4
    NO_US = 5


def allows(rule: ResidencyRule, jurisdiction: str) -> bool:
    """Whether data under a rule may be in a jurisdiction, such as `EU`.

    An empty jurisdiction is one that nobody stated. It may be any, and so only ``ANY`` allows it.
    """
    if rule is ResidencyRule.ANY:
        return True
    if rule is ResidencyRule.NO_US:
        return jurisdiction not in ("", "US")
    return jurisdiction == _ONLY[rule]


_ONLY = {
    ResidencyRule.EU_ONLY: "EU",
    ResidencyRule.US_ONLY: "US",
    ResidencyRule.APAC_ONLY: "APAC",
}
