"""What to say of a cluster that does not do what a command asks: what failed, and what to do about it."""

from __future__ import annotations

_UNAUTHORIZED, _FORBIDDEN = 401, 403


def tell_trouble(error: Exception) -> str:
    """One line. Errors that say what to do are left as they are."""
    from sources.kubernetes.api import Refused, Unreachable

    if isinstance(error, Unreachable):
        return (
            f"the API server cannot be reached: {error}; see that it runs, and name the right cluster with "
            "--kubeconfig and --context"
        )
    if isinstance(error, Refused) and error.refusal.code == _UNAUTHORIZED:
        return (
            f"the API server does not accept the kubeconfig's credentials: {error}; log in again, or name another one"
        )
    if isinstance(error, Refused) and error.refusal.code == _FORBIDDEN:
        return f"{error}; ask for that right (`heddle check --pre` names all that an installation lacks)"
    return str(error)
