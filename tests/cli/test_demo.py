"""`make demo-canary` as a stranger meets it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.cli.shell import BIN, environment

_PATIENCE_S = 120.0


def test_the_canary_is_rolled_back_by_itself_and_says_why(tmp_path: Path) -> None:
    ended = subprocess.run(
        [BIN / "placet", "demo", "canary", "--plain"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )

    assert ended.returncode == 0, ended
    good, bad = ended.stdout.split("and one that is not what its author thinks:")
    assert [f"running at {share} %" in good for share in (10, 50, 100)] == [True] * 3
    assert good.rstrip().splitlines()[-1].endswith(" completed")
    told = " ".join(bad.split())
    assert "the guard on denies was breached: the candidate denied 100.0 % of" in told
    assert re.search(r"ALLOW -> DENY invoices/no-views-without-mfa", told)
    assert re.search(r"[\d,]+ calls meanwhile, 0 failed", told)
    assert list(tmp_path.iterdir()) == []
