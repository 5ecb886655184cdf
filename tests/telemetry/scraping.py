"""Reading a node's metrics as Prometheus does."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from placet_server.app import Node
from placet_server.config import TelemetryConfig

SCRAPED = TelemetryConfig(prometheus_listen="127.0.0.1:0")
TIMEOUT_S = 10.0


async def scrape(node: Node) -> str:
    """Return what a node's endpoint answers."""
    url = f"http://{node.telemetry.prometheus_address}/metrics"

    def read() -> str:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(read)


async def samples(node: Node, name: str, **labels: str) -> list[Mapping[str, str]]:
    """Return the labels of every sample of a name that has these, its value among them."""
    return [
        {**sample.labels, "value": str(sample.value)}
        for family in text_string_to_metric_families(await scrape(node))
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


async def value(node: Node, name: str, **labels: str) -> float:
    """Return the sum of every sample of a name that has these labels."""
    return sum(float(found["value"]) for found in await samples(node, name, **labels))
