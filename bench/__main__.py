"""``python -m bench``: measures everything, and writes a report."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Console

import placet
from bench.failures import CannotStart, WrongAnswer
from bench.http2 import ProtocolError
from bench.machine import choose_cores, describe
from bench.measure import QUICK, Context, Pace
from bench.peers.cerbos import Cerbos
from bench.peers.compare import compare
from bench.peers.contender import Contender
from bench.peers.opa import Opa
from bench.peers.placet import Placet
from bench.records import Results, Skipped
from bench.report import report
from bench.scenarios.catalogue import PEERS, SCENARIOS, Scenario
from bench.servers import ON_REQUEST, VARIANTS, Variant
from placet_engine import native

_T = TypeVar("_T")
_QUIET = 0.5
_RESULTS = Path(__file__).parent / "results"

_VARIANTS = {variant.name: variant for variant in (*VARIANTS, *ON_REQUEST)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 1 when something could not be measured that should be."""
    options = _parser().parse_args(arguments)
    variants = _chosen("variant", options.variants, _VARIANTS, VARIANTS)
    everything = [*(scenario.name for scenario in SCENARIOS), PEERS]
    names = _chosen("scenario", options.only, {name: name for name in everything}, everything)
    cores = choose_cores()
    now = datetime.now(UTC)
    console = Console(stderr=True)
    results = Results(
        machine=describe(cores),
        started=f"{now:%Y-%m-%d %H:%M} UTC",
        arguments=" ".join(sys.argv[1:] if arguments is None else arguments),
    )
    busy = os.getloadavg()[0]
    if busy > _QUIET:
        results.remarks.append(
            f"Other programs used this machine when the run began (load average {busy:.1f}): "
            "trust ratios only, and run again when it is quiet."
        )
    if native.extension is None:
        results.remarks.append(
            "The native path was not used: all decisions were made in Python (`make native`)."
        )
    if not cores.apart:
        results.remarks.append(
            "Server and load generator share one core: figures are lower than a server's own."
        )
    # So that servers are stopped on a SIGTERM as they are on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as folder, _progress(console) as tell:
        pace = QUICK if options.quick else Pace()
        context = Context(cores, Path(folder), pace, options.quick, results, tell)
        fine = _run(context, variants, set(names))
    _keep(results, Path(options.results) / f"{now:%Y%m%dT%H%M%SZ}", console)
    return 0 if fine else 1


def _parser() -> argparse.ArgumentParser:
    scenarios = "\n".join(f"  {scenario.name:12} {scenario.about}" for scenario in SCENARIOS)
    variants = "\n".join(
        f"  {variant.name:12} {variant.about}"
        + (" (only when named)" if variant in ON_REQUEST else "")
        for variant in _VARIANTS.values()
    )
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure how fast Placet decides, beside its peers, and write a report.",
        epilog=f"scenarios:\n{scenarios}\n  {PEERS:12} Compare with Cerbos and OPA, all checked "
        f"to answer the same first.\n\nvariants of Placet:\n{variants}\n\n"
        "The first variant goes through every scenario, the others through those about the "
        "transport.\nWhat cannot be started is left out, and the report says why.",
    )
    parser.add_argument("--quick", action="store_true", help="short runs, smaller sets: a look")
    parser.add_argument("--only", metavar="NAMES", help="scenarios, with commas: hot,cold,peers")
    parser.add_argument("--variants", metavar="NAMES", help="variants, with commas")
    parser.add_argument(
        "--results",
        metavar="FOLDER",
        default=str(_RESULTS),
        help="default: bench/results",
    )
    return parser


def _chosen(
    what: str, names: str | None, known: Mapping[str, _T], usual: Sequence[_T]
) -> Sequence[_T]:
    """Return what is named, the usual when nothing is.

    Raises:
        SystemExit: there is nothing of that name.
    """
    if not names:
        return usual
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"unknown {what} `{unknown[0]}`; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def _run(context: Context, variants: Sequence[Variant], names: set[str]) -> bool:
    fine = True
    for scenario in SCENARIOS:
        if scenario.name in names:
            for variant in variants if scenario.every_variant else variants[:1]:
                fine = _attempt(context, scenario, variant) and fine
    if PEERS in names:
        # All on one core: that is what is compared.
        ours = [Placet(variant) for variant in variants if not variant.all_cores]
        contenders: list[Contender] = [*ours, Cerbos(), Opa()]
        fine = _guarded(context, PEERS, "all", lambda: compare(context, contenders)) and fine
    return fine


def _attempt(context: Context, scenario: Scenario, variant: Variant) -> bool:
    system = f"placet {variant.name}"
    if any((found.scenario, found.system) == ("all", system) for found in context.results.skipped):
        return True
    try:
        return _guarded(context, scenario.name, system, lambda: scenario.run(context, variant))
    except CannotStart as error:
        context.results.skipped.append(Skipped("all", system, str(error)))
        return True


def _guarded(context: Context, scenario: str, system: str, run: Callable[[], None]) -> bool:
    """Run; keep what went wrong for the report, and go on with the next."""
    try:
        run()
    except (WrongAnswer, ProtocolError, placet.PlacetError, OSError) as error:
        context.tell(f"{scenario}: {system} FAILED: {error}")
        context.results.skipped.append(Skipped(scenario, system, f"FAILED: {error}"))
        return False
    return True


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Show what is being done and for how long already: moving on a terminal, else as lines."""
    start = time.monotonic()
    if not console.is_terminal:
        yield lambda text: console.print(
            f"{time.monotonic() - start:5.0f} s  {text}", markup=False, highlight=False
        )
        return
    with console.status("starting") as status:
        yield lambda text: status.update(f"{time.monotonic() - start:.0f} s  {text}")


def _keep(results: Results, folder: Path, console: Console) -> None:
    """Write the raw run, the plots and the report."""
    folder.mkdir(parents=True)
    raw = json.dumps(results.document(), indent=1) + "\n"
    (folder / "raw.json").write_text(raw, "utf-8")
    try:
        from bench.plots import draw
    except ModuleNotFoundError as error:
        results.remarks.append(f"No plots: {error.name} is not installed.")
        plots = []
    else:
        plots = draw(results, folder)
    text = report(results, plots)
    (folder / "report.md").write_text(text, "utf-8")
    print(text)
    console.print(f"report: {folder / 'report.md'}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
