"""Which pods a selector selects, without looking at all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from model.pods import Pod


class PodIndex:
    """Pods by label and by address. Built once for a set of pods, then only read."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self._by_label: defaultdict[tuple[str, str, str], list[Pod]] = defaultdict(list)
        self._by_address: dict[str, Pod] = {}
        self._by_name: dict[tuple[str, str], Pod] = {}
        for pod in pods:
            self._by_name[pod.ref.namespace, pod.ref.name] = pod
            for label in pod.labels.items():
                self._by_label[(pod.ref.namespace, *label)].append(pod)
            for address in pod.addresses:
                self._by_address.setdefault(address, pod)

    def select(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods of a namespace that have all the labels, in the order given; none for an empty selector."""
        lists = [self._by_label.get((namespace, *label), []) for label in selector.items()]
        if not lists:
            return ()
        shortest = min(lists, key=len)
        if len(lists) == 1:
            return tuple(shortest)
        wanted = selector.items()
        return tuple(pod for pod in shortest if wanted <= pod.labels.items())

    def find(self, namespace: str, name: str, address: str) -> Pod | None:
        """The pod of that name, or else the one with that address."""
        return self.named(namespace, name) or self._by_address.get(address)

    def named(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name."""
        return self._by_name.get((namespace, name))
