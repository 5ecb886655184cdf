"""A network out of network namespaces: a cable from each place to a switch, delayed by ``netem``.

The demo itself moves into a namespace of its own, which has the switch (a bridge); each region and
each country gets another, with one end of a pair of ``veth`` in it. On the switch's side of each
cable a class of ``htb`` for each other place holds a ``netem`` of half a round trip, and a filter
by source address puts packets into it. So kernels delay packets, those of a handshake too.

None of the namespaces has a name: they are held by this process alone, as open files, and by what
runs in them. When those are gone the kernel removes all of it, whatever happened. Nothing is
changed in the namespace that the command was started in.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_TOOLS = ("ip", "tc", "nsenter")
_COMMAND_TIMEOUT_S = 20.0
_NETWORK = "10.177.0"
_SWITCH = "switch"
_QUEUE_PACKETS = 10_000
"""More than are ever under way: what finds no room would be lost."""


class NotAllowed(Exception):
    """There can be no such network here; the message says why."""


def netem(delay_s: float) -> str:
    """Return what holds packets back for so long, as ``tc`` says it."""
    return f"netem delay {delay_s * 1e6:.0f}us limit {_QUEUE_PACKETS}"


def check(held_by: Callable[[float], str] = netem) -> None:
    """See whether there can be such a network, by making a small one for a moment.

    Raises:
        NotAllowed: there cannot.
    """
    if sys.platform != "linux":
        raise NotAllowed("no network namespaces but on Linux")
    if os.geteuid() != 0:
        raise NotAllowed("no namespaces without root")
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise NotAllowed(f"no command `{tool}`")
    # Of another thread, which ends: this one stays where it is.
    _in_thread(lambda: Switched(("one", "two"), lambda source, target: 0.001, held_by).close())


class Switched:
    """A switch in a namespace that this thread is moved into, and places around it.

    For the main thread, before others are started that are to talk to the places.

    Args:
        places: their names.
        delay_s: tells how long a packet is on its way from one to another, in seconds.
        held_by: says to ``tc`` what holds packets back for so long.

    Raises:
        NotAllowed: there cannot be such a network.
    """

    def __init__(
        self,
        places: Sequence[str],
        delay_s: Callable[[str, str], float],
        held_by: Callable[[float], str] = netem,
    ) -> None:
        self._numbers = {place: number for number, place in enumerate(places, 2)}
        _unshare()
        self._files = {place: _in_thread(_made_apart) for place in places}
        _batch(("ip",), _switch())
        for place, number in self._numbers.items():
            _batch((*self.way_in(place), "ip"), _cable(number))
            _batch(("ip",), _port(number))
        try:
            _batch(("tc",), _delays(self._numbers, delay_s, held_by))
        except NotAllowed as error:
            raise NotAllowed(f"no netem, {error}") from error

    def close(self) -> None:
        """Let go of the places: they are gone with whatever runs there."""
        for file in self._files.values():
            os.close(file)

    def host(self, place: str) -> str:
        """Return a place's address."""
        return _host(self._numbers[place])

    def way_in(self, place: str) -> tuple[str, ...]:
        """Return what makes a command run there, put before it."""
        return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self._files[place]}")


# ------------------------------------------------------------------------- what is to be made


def _switch() -> Iterator[str]:
    yield f"link add {_SWITCH} type bridge"
    yield f"addr add {_host(1)}/24 dev {_SWITCH}"
    yield f"link set {_SWITCH} up"
    yield "link set lo up"


def _cable(number: int) -> Iterator[str]:
    """Yield what makes a cable, said at the place; its other end comes out where this thread is."""
    yield "link set lo up"
    yield f"link add cable type veth peer name port{number} netns {threading.get_native_id()}"
    yield f"addr add {_host(number)}/24 dev cable"
    yield "link set cable up"


def _port(number: int) -> Iterator[str]:
    yield f"link set port{number} master {_SWITCH}"
    yield f"link set port{number} up"


def _delays(
    numbers: Mapping[str, int],
    delay_s: Callable[[str, str], float],
    held_by: Callable[[float], str],
) -> Iterator[str]:
    """Yield what holds packets back on their way out of the switch, by where they come from."""
    for target, port in numbers.items():
        # What no filter is for, as what the demo itself sends, is not held back.
        yield f"qdisc add dev port{port} root handle 1: htb"
        for source, number in numbers.items():
            if source == target:
                continue
            yield (
                f"class add dev port{port} parent 1: classid 1:{number} htb "
                "rate 10gbit quantum 200000"
            )
            held = held_by(delay_s(source, target))
            yield f"qdisc add dev port{port} parent 1:{number} handle {number}0: {held}"
            yield (
                f"filter add dev port{port} parent 1: protocol ip prio 1 u32 "
                f"match ip src {_host(number)}/32 flowid 1:{number}"
            )


def _host(number: int) -> str:
    return f"{_NETWORK}.{number}"


# ------------------------------------------------------------------------------ how it is made


def _unshare() -> None:
    """Move this thread, and what it starts from now on, into a namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise NotAllowed(f"a network namespace cannot be made: {reason.lower()}")


def _made_apart() -> int:
    """Make a namespace, for a thread that ends; return the open file that holds it."""
    _unshare()
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _in_thread(do: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as one:
        return one.submit(do).result()


def _batch(tool: tuple[str, ...], lines: Iterator[str]) -> None:
    _command((*tool, "-batch", "-"), "".join(f"{line}\n" for line in lines))


def _command(command: tuple[str, ...], given: str = "") -> None:
    try:
        subprocess.run(  # noqa: S603  # fixed words, names and numbers of ours
            command,
            input=given,
            check=True,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().partition("\n")[0] or f"it ended with {error.returncode}"
        raise NotAllowed(
            f"{command[0]}: {said.removeprefix('Error: ').rstrip('.').lower()}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAllowed(f"`{command[0]}` cannot be used: {error}") from error
