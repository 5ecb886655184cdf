"""From the configuration to somebody who knows callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from placet_server.changing_files import ChangingFiles
from placet_server.clock import Clock
from placet_server.config import Config, ConfigError, IdentityConfig
from placet_server.identity.access import read_access
from placet_server.identity.callers import Callers
from placet_server.identity.keys import Keys, KeySet, KeysRefused, read_keys
from placet_server.identity.refused_calls import RefusedCalls
from placet_server.identity.remote_keys import RemoteKeys, check_address
from placet_server.identity.tokens import TokenReader, TokenRules
from placet_server.telemetry.recorders import Metrics


class Identity:
    """Knows callers by a configuration, and keeps up with its files and addresses.

    Args:
        config: the configuration; it has ``identity.access``.
        clock: tells what has expired.
        metrics: where refusals are counted.

    Raises:
        ConfigError: a file is no good.
    """

    def __init__(self, config: Config, clock: Clock, metrics: Metrics | None = None) -> None:
        identity = config.identity
        self._reload_s = identity.reload_s
        self._keys = KeySet()
        self._remote: RemoteKeys | None = None
        self._keys_file: ChangingFiles[Keys] | None = None
        path = Path(identity.access)
        self._access = ChangingFiles([path], lambda: read_access(path), what="the access file")
        try:
            access = self._access.read()
            look_again = self._open_keys(identity, clock)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.callers = Callers(
            access,
            TokenReader(self._keys, _rules(identity), lambda: clock.now().timestamp())
            if identity.jwks
            else None,
            lambda: clock.now().timestamp(),
            RefusedCalls(clock.monotonic, metrics),
            look_again,
        )

    def tasks(self) -> list[tuple[Coroutine[Any, Any, None], str]]:
        """Return what has to run as long as the node does, and names for it."""
        tasks = [(self._access.follow(self.callers.replace_access, self._reload_s), "access")]
        if self._keys_file is not None:
            tasks.append((self._keys_file.follow(self._keys.replace, self._reload_s), "keys"))
        if self._remote is not None:
            tasks.append((self._remote.run(), "keys"))
        return tasks

    def _open_keys(
        self, identity: IdentityConfig, clock: Clock
    ) -> Callable[[], Awaitable[None]] | None:
        """Return what has the keys fetched out of turn, if they can be."""
        if "://" in identity.jwks:
            check_address(identity.jwks)
            self._remote = RemoteKeys(
                identity.jwks,
                self._keys,
                refresh_s=identity.jwks_refresh_s,
                monotonic=clock.monotonic,
            )
            return self._remote.look_again
        if identity.jwks:
            path = Path(identity.jwks)
            self._keys_file = ChangingFiles(
                [path], lambda: _keys_in(path), what="the key set of tokens"
            )
            self._keys.replace(self._keys_file.read())
        return None


def _rules(identity: IdentityConfig) -> TokenRules:
    return TokenRules(
        issuer=identity.issuer,
        audience=identity.audience,
        algorithms=identity.algorithms,
        name_claim=identity.name_claim,
        groups_claim=identity.groups_claim,
        leeway_s=identity.leeway_s,
    )


def _keys_in(path: Path) -> Keys:
    try:
        return read_keys(path.read_bytes())
    except OSError as error:
        raise KeysRefused(f"cannot read `{path}`: {error.strerror}; check identity.jwks") from error
    except KeysRefused as error:
        raise KeysRefused(f"`{path}` is no good: {error}") from error
