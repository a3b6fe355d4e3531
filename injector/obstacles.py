"""Pods that cannot have a sidecar, whoever asks for one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from injector.capture import SIDECAR_USER
from injector.names import FOREIGN_INIT, SIDECAR, VOLUMES
from injector.pod_values import Json, all_containers, annotations_of, containers_of
from model import pods
from model.pods import TEMPLATES

AUTO: Final = "auto"
_NODE_OS: Final = "kubernetes.io/os"
_OWN_PORTS: Final = (15001, 15006, 15020, 15021, 15090)


class Obstacle(StrEnum):
    """Why not."""

    HOST_NETWORK = "HostNetwork"
    WINDOWS = "Windows"
    OTHER_SIDECAR = "OtherSidecar"
    GATEWAY_UNCLEAR = "GatewayUnclear"
    SIDECAR_USER = "SidecarUser"
    SIDECAR_PORT = "SidecarPort"
    NAME_TAKEN = "NameTaken"


def is_gateway(pod: Json) -> bool:
    """Whether the pod is a gateway: a container named `istio-proxy` that is to be filled in, and no capture."""
    return pods.is_gateway(annotations_of(pod))


def find_obstacle(pod: Json) -> tuple[Obstacle, str, str] | None:
    """What is in the way, as one sentence, and what to do about it."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        message = "the pod is on the host's network, whose traffic a sidecar must not capture"
        return Obstacle.HOST_NETWORK, message, "Remove hostNetwork, or let it stay outside the mesh."
    if "windows" in ((spec.get("os") or {}).get("name"), (spec.get("nodeSelector") or {}).get(_NODE_OS)):
        return Obstacle.WINDOWS, "the pod runs on Windows, for which there is no sidecar", "Let it stay outside."
    return _other_sidecar(pod) or _clash(pod)


def _other_sidecar(pod: Json) -> tuple[Obstacle, str, str] | None:
    proxies = [container for _, container in all_containers(pod) if container["name"] == SIDECAR]
    to_fill = [container for container in containers_of(pod) if container in proxies and container.get("image") == AUTO]
    if is_gateway(pod) and to_fill and len(proxies) == 1:
        return None
    if is_gateway(pod) or to_fill:
        message = f"a gateway has the annotation {TEMPLATES}: gateway and one container {SIDECAR} with the image {AUTO}"
        return Obstacle.GATEWAY_UNCLEAR, f"{message}; this pod does not", "Give it both, or neither."
    for path, container in all_containers(pod):
        if container["name"] in (SIDECAR, *FOREIGN_INIT):
            message = f"{path} is a container {container['name']} that is not ours: the pod has a sidecar already"
            return Obstacle.OTHER_SIDECAR, message, "Remove that container to have Heddle's."
    return None


def _clash(pod: Json) -> tuple[Obstacle, str, str] | None:
    pod_user = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    for path, container in all_containers(pod):
        if is_gateway(pod) and container["name"] == SIDECAR:
            continue
        own_user = (container.get("securityContext") or {}).get("runAsUser")
        if (pod_user if own_user is None else own_user) == SIDECAR_USER:
            message = f"{path} runs as user {SIDECAR_USER}, which is the sidecar's: its traffic would not be captured"
            return Obstacle.SIDECAR_USER, message, "Run it as another user (securityContext.runAsUser)."
        for port in container.get("ports") or ():
            if port.get("containerPort") in _OWN_PORTS:
                message = f"{path} listens on port {port['containerPort']}, which is the sidecar's"
                return Obstacle.SIDECAR_PORT, message, "Let the application listen on another port."
    for number, volume in enumerate(pod["spec"].get("volumes") or ()):
        if volume["name"] in VOLUMES:
            message = f"spec.volumes[{number}] is named {volume['name']}, which is the sidecar's"
            return Obstacle.NAME_TAKEN, message, "Name the volume otherwise."
    return None
