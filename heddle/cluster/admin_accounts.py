"""Who may ask a control plane about itself: the other replicas, and people by an account that can do nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from heddle.cluster.pod_tokens import ClusterTokens
from heddle.cluster.replicas import reader_of, replicas
from model.mesh import Mesh
from model.pods import Pod
from sds.tokens import Account, TokenRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquirer:
    """Somebody who may ask. `name` is for logs; `replica`: not a person, but another control plane."""

    name: str
    replica: bool


class AdminAccounts:
    """`namespace` and `revision` are this control plane's own."""

    def __init__(
        self, tokens: ClusterTokens[Account], mesh: Callable[[], Mesh], *, namespace: str, revision: str
    ) -> None:
        self._tokens = tokens
        self._mesh = mesh
        self._namespace = namespace
        self._reader = reader_of(revision)

    async def identify(self, token: str) -> Inquirer:
        """Who shows this token. Raises TokenRefused, CannotTell."""
        account = await self._tokens.verify(token)
        if account.namespace != self._namespace:
            raise TokenRefused("an account of another namespace")
        pod = self._pod_of(account)
        if account.name == self._reader:
            return Inquirer(name=account.name, replica=False)
        if pod is not None and replicas((pod,), self._namespace):
            return Inquirer(name=pod.ref.name, replica=True)
        raise TokenRefused("an account that may not ask")

    def _pod_of(self, account: Account) -> Pod | None:
        """The pod that the token is bound to, None for none. Raises TokenRefused if it is gone."""
        bound = account.pod
        if bound is None:
            return None
        pod = self._mesh().pods.get((bound.namespace, bound.pod_name))
        if pod is None or (pod.uid, pod.service_account) != (bound.pod_uid, account.name):
            raise TokenRefused("there is no such pod")
        return pod
