"""Whether a pod exists that our watch has not shown us yet: the API server is asked for that one pod."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from heddle.cluster.budget import Budget, Spent
from sds.tokens import Caller, CannotTell
from sources.kubernetes.api import Api, Refused, Unreachable
from sources.kubernetes.events import Garbled, parse_page
from sources.kubernetes.observed_pods import to_observed_pod
from sources.kubernetes.resources import PODS, Resource

ASK_SECONDS = 5.0
GONE_SECONDS = 60.0
"""How long a pod that is gone stays so without asking: only a restored etcd brings a uid back."""
MOST_KEPT = 4096


class PodLookup:
    """Asks within `budget`. A list of one is asked for, because to list pods is all that a source may do."""

    def __init__(self, api: Api, budget: Budget) -> None:
        self._api = api
        self._budget = budget
        self._gone: OrderedDict[Caller, float] = OrderedDict()

    async def exists(self, caller: Caller) -> bool:
        """Whether there is this pod, of this uid and account, that has not ended. Raises CannotTell."""
        now = asyncio.get_running_loop().time()
        if self._gone.get(caller, now) > now:
            return False
        try:
            with self._budget.spend():
                async with asyncio.timeout(ASK_SECONDS):
                    found = await self._ask(caller)
        except Spent:
            raise CannotTell("too many unknown pods") from None
        except TimeoutError:
            raise CannotTell("the pod is unknown, and the API server does not answer") from None
        except (Unreachable, Refused, Garbled) as error:
            raise CannotTell(f"the pod is unknown, and the API server cannot be asked: {error}") from None
        if not found:
            self._gone[caller] = now + GONE_SECONDS
            self._gone.move_to_end(caller)
            if len(self._gone) > MOST_KEPT:
                self._gone.popitem(last=False)
        return found

    async def _ask(self, caller: Caller) -> bool:
        one = Resource(kind=PODS.kind, plural=PODS.plural, namespace=caller.namespace, name=caller.pod_name)
        # Without a resource version, so that the answer is etcd's and not that of a cache behind it.
        page = parse_page(await self._api.get(one.path("v1"), one.selector()))
        observed = (to_observed_pod(item) for item in page.items)
        return any(
            each is not None and (each.pod.uid, each.pod.service_account) == (caller.pod_uid, caller.service_account)
            for each in observed
        )
