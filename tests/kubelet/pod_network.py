"""The pods' networks, on one machine for all nodes: heddle/local's, with a queue before it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from heddle.local.addresses import AddressBook
from heddle.local.leftovers import kill_in_network
from heddle.local.network import MeshNetwork, NetworkFailed, PodNetwork, PodSpec
from heddle.local.service_proxy import ServicePort


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    key: str
    namespace: str
    hostname: str
    made: asyncio.Future[PodNetwork]


class PodNetworks:
    """One change at a time; pods that come together are made together."""

    def __init__(self, network: MeshNetwork) -> None:
        self._network = network
        self._book = AddressBook(subnet=network.subnet)
        self._queue: list[_Wanted] = []
        self._one_at_a_time = asyncio.Lock()

    @property
    def host_address(self) -> str:
        """The nodes', as pods see it."""
        return str(self._network.subnet.gateway)

    async def add(self, key: str, *, namespace: str, hostname: str) -> PodNetwork:
        """A pod's network, without any capture. `key` is the pod's uid. Raises NetworkFailed, OSError."""
        wanted = _Wanted(
            key=key, namespace=namespace, hostname=hostname, made=asyncio.get_running_loop().create_future()
        )
        self._queue.append(wanted)
        async with self._one_at_a_time:
            batch, self._queue = self._queue, []
            if batch:
                await self._make(batch)
        return await wanted.made

    async def remove(self, key: str, network: PodNetwork) -> None:
        """Ends what still runs in it, and takes it away."""
        async with self._one_at_a_time:
            await asyncio.to_thread(kill_in_network, network.handle.network)
            await asyncio.to_thread(self._network.remove_pods, (network,))
        self._book = self._book.without_pod(key)

    async def set_services(self, ports: tuple[ServicePort, ...]) -> None:
        """Balances these Services' ports from now on. Raises NetworkFailed."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._network.set_services, ports)

    async def _make(self, batch: list[_Wanted]) -> None:
        specs = [self._specify(wanted) for wanted in batch]
        try:
            made: Any = await asyncio.to_thread(self._network.add_pods, specs)
        except (NetworkFailed, OSError) as error:
            for wanted in batch:
                wanted.made.set_exception(error)
            return
        for wanted, network in zip(batch, made, strict=True):
            if wanted.made.cancelled():
                await asyncio.to_thread(self._network.remove_pods, (network,))
            else:
                wanted.made.set_result(network)

    def _specify(self, wanted: _Wanted) -> PodSpec:
        self._book, address = self._book.with_pod(wanted.key)
        assert isinstance(address, IPv4Address)
        # Whoever injects sets the rules, in a container of the pod's own.
        return PodSpec(name=wanted.key, namespace=wanted.namespace, hostname=wanted.hostname, address=address)
