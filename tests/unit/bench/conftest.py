"""Some of these need packages that only the bench's environment has."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("casbin", "hdrh", "matplotlib")
MISSING = [name for name in NEEDED if find_spec(name) is None]

# They could not be imported. test_environment.py says so where it is seen.
collect_ignore = ["test_peers.py", "test_report.py"] if MISSING else []
