"""What a tenant's decisions rest on right now, fetched once."""

from __future__ import annotations

from placet._channel import Destination, Dialing
from placet._credentials import Credentials
from placet._errors import DeadlineExceeded
from placet._loop_thread import background_loop
from placet._mirror import Snapshot
from placet._opening import following, subscribe_request
from placet._subscription import FollowOptions
from placet.local._programs import ENGINE_ITEMS, item_sets
from placet_engine.changes import ItemSet


def published_sets(
    target: str, *, tenant: str, timeout_s: float, credentials: Credentials | None = None
) -> tuple[ItemSet, ItemSet]:
    """Return the platform's items and a tenant's own, both as of one revision, checksum checked.

    Raises:
        DeadlineExceeded: they were not there in time.
        PlacetError: what makes waiting pointless, such as ``NotFound`` for the tenant.
    """
    destination = Destination(target, Dialing(credentials))
    return background_loop().run(_fetch(destination, tenant, timeout_s))


async def _fetch(
    destination: Destination, tenant: str, timeout_s: float
) -> tuple[ItemSet, ItemSet]:
    request = subscribe_request(tenant)
    async with following(destination, request, ENGINE_ITEMS, FollowOptions()) as subscription:
        try:
            event = await subscription.next_event(timeout_s=timeout_s)
        except TimeoutError:
            cause = subscription.last_error
            raise DeadlineExceeded(
                f"the policies of `{tenant}` did not come within {timeout_s:g} s"
                + (f": {cause}" if cause else "")
            ) from cause
    # The first event is always the whole.
    assert isinstance(event, Snapshot)
    return item_sets(tenant, event)
