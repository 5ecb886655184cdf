"""Finds test inputs that nobody on this project wrote, and that are not part of it.

They lie at `../shared/data` from the project's root. A clone does not have
them, and skips what needs them; CI has, and there their absence is a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_file(name: str) -> Path:
    """Return the path of a file or folder of the data; skip or fail where it is absent.

    May be called while tests are collected, to make a test of each case in it.
    """
    path = FOLDER / name
    if not path.exists():
        message = f"there is no {path}; see tests/data.py"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message, allow_module_level=True)
    return path
