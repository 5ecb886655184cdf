"""Property tests here run as those in `tests/property` do."""

from __future__ import annotations

import tests.property.conftest  # noqa: F401  # loads the profile
