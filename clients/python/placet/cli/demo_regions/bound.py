"""Processes that end with whoever started them, however that ends.

``python -m placet.cli.demo_regions.bound PID ARGUMENT...`` runs ``placet ARGUMENT...`` so.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from placet.cli.main import run

_PR_SET_PDEATHSIG = 1


def end_with(parent_pid: int) -> None:
    """Have this process killed when the one that started it is gone. Linux only.

    Elsewhere, what is left over is found by the next start.

    Args:
        parent_pid: its number, to see whether it is gone already.
    """
    if sys.platform == "linux":
        # prctl(2): a process that is stopped is killed as well.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(1)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    sys.exit(run(sys.argv[2:]))
