"""How hypothesis runs: the same examples every time in CI, new ones elsewhere.

An example that fails prints a line, `@reproduce_failure(...)`, that repeats it.
`HYPOTHESIS_PROFILE=long` looks further.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_COMMON = settings(
    deadline=None,  # a busy machine is no failure
    print_blob=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)

settings.register_profile("ci", _COMMON, derandomize=True, database=None)
settings.register_profile("dev", _COMMON)
settings.register_profile("long", _COMMON, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
