"""Fields that Kubernetes knows and that rightly have no effect on a mesh, by the structure they stand in.

A test holds these lists, with the fields the parsers read, against Kubernetes' own.
"""

from __future__ import annotations

OBJECT_META = (
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
)
OWNER_REFERENCE = ("apiVersion", "blockOwnerDeletion", "uid")
OBJECT_REFERENCE = ("apiVersion", "fieldPath", "namespace", "resourceVersion", "uid")
SERVICE_ACCOUNT = ("automountServiceAccountToken", "imagePullSecrets", "secrets")
SERVICE_SPEC = (
    "allocateLoadBalancerNodePorts",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "sessionAffinityConfig",
)
SERVICE_PORT = ("nodePort",)
DEPLOYMENT_SPEC = ("minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit")
STATEFUL_SET_SPEC = (
    "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
    "podManagementPolicy",
    "revisionHistoryLimit",
)
POD_SPEC = (
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "ephemeralContainers",
    "evictionResponders",
    "hostIPC",
    "hostPID",
    "hostUsers",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "resources",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "schedulingGroup",
    "securityContext",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
)
CONTAINER = (
    "imagePullPolicy",
    "resizePolicy",
    "resources",
    "restartPolicyRules",
    "securityContext",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
)
CONTAINER_PORT = ("hostIP", "hostPort")
PROBE = ("terminationGracePeriodSeconds",)
HTTP_GET = ("protocol",)
FIELD_REF = ("apiVersion",)
POD_STATUS = (
    "allocatedResources",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "extendedResourceClaimStatus",
    "hostIP",
    "hostIPs",
    "initContainerStatuses",
    "message",
    "nodeAllocatableResourceClaimStatuses",
    "nominatedNodeName",
    "observedGeneration",
    "phase",
    "qosClass",
    "reason",
    "resize",
    "resourceClaimStatuses",
    "resources",
    "startTime",
    "volumeHealth",
)
POD_CONDITION = ("lastProbeTime", "lastTransitionTime", "message", "observedGeneration", "reason")
ENDPOINT = ("deprecatedTopology", "hints", "nodeName", "zone")
ENDPOINT_PORT = ("appProtocol",)
