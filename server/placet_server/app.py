"""The composition root: every part is made and wired here, and nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from placet_engine.cache import DecisionCache
from placet_engine.compiling import Compiler
from placet_server.api.encoding import lasting_part
from placet_server.api.evaluate import EvaluateService
from placet_server.api.node import NodeService
from placet_server.api.policy import PolicyService
from placet_server.api.server import ApiServer, Services
from placet_server.api.subscribe import SubscribeService
from placet_server.clock import Clock, SystemClock
from placet_server.config import Config, ConfigError
from placet_server.decisions.decider import Answer, Decider
from placet_server.policies.active import ActivePolicies
from placet_server.policies.feed import Feed
from placet_server.policies.hub import Hub
from placet_server.policies.publisher import Publisher
from placet_server.store.contract import Store
from placet_server.store.memory import MemoryStore
from placet_server.store.sqlite import SqliteStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """A running node."""

    address: str
    """``host:port`` it serves on."""
    store: Store
    active: ActivePolicies
    decider: Decider
    publisher: Publisher
    hub: Hub
    api: ApiServer

    async def drain(self) -> None:
        """Take no more calls; return when those under way are done, or out of time."""
        await self.api.drain()


@asynccontextmanager
async def running_node(config: Config, *, clock: Clock | None = None) -> AsyncIterator[Node]:
    """Run a node for the length of the block; at its end, drain it.

    Raises:
        ConfigError: the configuration asks for what must not be.
        AddressUnavailable: the address cannot be listened on.
        StoreError: the store cannot be opened.
    """
    _refuse_open_address(config)
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        store = await _open_store(config)
        stack.push_async_callback(store.aclose)
        executor = stack.enter_context(
            ThreadPoolExecutor(config.server.compile_threads, thread_name_prefix="compile")
        )
        compiler = Compiler()
        active = ActivePolicies(clock)
        hub = Hub(
            max_subscriptions=config.subscribe.max_subscriptions,
            max_waiting=config.subscribe.max_waiting,
        )
        feed = Feed(
            store=store,
            compiler=compiler,
            executor=executor,
            active=active,
            hub=hub,
            max_window_commits=config.subscribe.max_window_commits,
        )
        await feed.load()
        name = config.server.node or socket.gethostname()
        cache: DecisionCache[Answer] = DecisionCache(
            max_bytes=config.cache.max_bytes,
            ttl_s=config.cache.ttl_s,
            monotonic=clock.monotonic,
        )
        decider = Decider(active, cache, lasting_part(node=name, region=config.server.region))
        publisher = Publisher(
            store=store, compiler=compiler, executor=executor, active=active, clock=clock
        )
        services = Services(
            evaluate=EvaluateService(decider=decider, active=active, executor=executor),
            policy=PolicyService(publisher=publisher, store=store, executor=executor),
            subscribe=SubscribeService(
                active=active,
                feed=feed,
                hub=hub,
                clock=clock,
                store_id=store.store_id,
                heartbeat_s=config.subscribe.heartbeat_s,
            ),
            node=NodeService(
                cache=cache,
                active=active,
                node=name,
                region=config.server.region,
                start_time=clock.now(),
            ),
        )
        following = asyncio.create_task(feed.run(), name="feed")
        stack.push_async_callback(_ended, following)
        api = ApiServer(
            services=services,
            hub=hub,
            write_timeout_s=config.subscribe.write_timeout_s,
            drain_s=config.server.drain_s,
        )
        host, _, _ = config.server.listen.rpartition(":")
        port = await api.start(config.server.listen)
        stack.push_async_callback(api.drain)
        address = f"{host}:{port}"
        log.info("serving", extra={"address": address, "revision": active.revision})
        yield Node(
            address=address,
            store=store,
            active=active,
            decider=decider,
            publisher=publisher,
            hub=hub,
            api=api,
        )


async def _open_store(config: Config) -> Store:
    if config.store.kind == "memory":
        return MemoryStore()
    return await SqliteStore.open(Path(config.store.path))


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _refuse_open_address(config: Config) -> None:
    """Keep plain-text ports on this machine unless somebody says they know better."""
    host = config.server.listen.rpartition(":")[0].strip("[]")
    if config.server.allow_insecure or host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"`{config.server.listen}` can be reached by others and this server has no TLS; "
            "listen on 127.0.0.1, or set server.allow_insecure where the network is yours"
        )
