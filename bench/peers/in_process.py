"""casbin: decides in the asking process, as Placet's local evaluation does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import casbin

from bench.workloads import GENERAL, Ask

_MODEL = """\
[request_definition]
r = sub, act, obj, serial, level, archived

[policy_definition]
p = sub, act, obj

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.act == p.act && (p.sub == "*" || r.sub == p.sub) && (p.obj == "*" || r.obj == p.obj) \
&& r.level > 3 && r.serial != "" && !r.archived
"""


def casbin_decider(size: int) -> Callable[[Ask, str], bool]:
    """Return a function that decides by the same rules as a Placet set of this size."""
    lines = [f"p, *, general{number}, *" for number in range(1, GENERAL)]
    for number in range(size - GENERAL):
        lines.append(
            f"p, u{number // 2}, view, *" if number % 2 == 0 else f"p, *, edit, d{number // 2}"
        )
    with TemporaryDirectory() as folder:
        model, policy = Path(folder, "model.conf"), Path(folder, "policy.csv")
        model.write_text(_MODEL, "utf-8")
        policy.write_text("\n".join(lines) + "\n", "utf-8")
        enforcer = casbin.Enforcer(str(model), str(policy))

    def decide(ask: Ask, serial: str) -> bool:
        return bool(enforcer.enforce(ask.subject, ask.action, ask.resource, serial, 5, False))

    return decide
