"""The command line: ``placet serve``, ``evaluate``, ``policy push`` and the rest.

Each ``_command.py`` is a command or two: options in, a call of the SDK, something readable out.
What can be tested without a terminal or a server stands beside them without an underscore:
``documents`` reads policy folders, ``cases`` reads and judges test cases, ``junit`` reports them,
``render`` draws.
"""

from __future__ import annotations
