"""How long to wait before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential back-off with full jitter.

    Each delay is drawn evenly from zero up to a bound that doubles with every
    failure: clients that were cut off together do not come back together.
    """

    first_s: float = 0.1
    """The bound after the first failure."""
    most_s: float = 10.0
    """The bound that is never exceeded."""

    def bound_s(self, failures: int) -> float:
        """Return the longest delay after so many failures in a row."""
        if failures < 1:
            return 0.0
        # Beyond 2**32 the bound is `most_s` whatever the base; floats overflow later.
        doublings = min(failures - 1, 32)
        return min(self.most_s, self.first_s * 2.0**doublings)

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Draw the delay after so many failures in a row."""
        return rng.uniform(0.0, self.bound_s(failures))
