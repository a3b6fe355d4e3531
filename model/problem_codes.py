"""The reasons for which a `Problem` may be filed: one name and one line each."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class ProblemCode(StrEnum):
    """A code as users see it; `meaning` is one line about it."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    # A file or a document
    MALFORMED_YAML = ("MalformedYaml", "the file cannot be read as YAML; nothing in it is in force")
    NOT_JSON = ("NotJson", "a value that JSON cannot hold, such as .nan or an own tag")
    DUPLICATE_KEY = ("DuplicateKey", "a key stands twice in one mapping")
    TOO_LARGE = ("TooLarge", "a document or file exceeds the limits of size, depth or aliases")
    NOT_AN_OBJECT = ("NotAnObject", "a document without apiVersion, kind or metadata")

    # A kind
    UNKNOWN_KIND = ("UnknownKind", "a kind that nothing here reads")
    UNKNOWN_VERSION = ("UnknownVersion", "a known kind in a version that does not exist")
    NOT_RUN = ("NotRun", "a Kubernetes kind that is accepted and has no effect here")

    # A field
    UNKNOWN_FIELD = ("UnknownField", "a field that the kind does not have, often a typing mistake")
    NOT_IMPLEMENTED = ("NotImplemented", "a field or kind that Istio or Kubernetes knows and Heddle does not do yet")
    MISSING_FIELD = ("MissingField", "a field that must be there is not")
    WRONG_TYPE = ("WrongType", "a text where a number is meant, a list where a mapping is, and the like")
    INVALID_VALUE = ("InvalidValue", "a value outside what the field may hold")
    INVALID_NAME = ("InvalidName", "a name or label that Kubernetes would refuse")

    DEPRECATED_FIELD = ("DeprecatedField", "a field that is read and has a newer name")
    MISPLACED_FIELD = ("MisplacedField", "a field of another kind, or of another place in this one")
    CONFLICTING_FIELDS = ("ConflictingFields", "two fields of which only one may be there")
    INVALID_REGEX = ("InvalidRegex", "a regular expression that Envoy's RE2 would refuse")
    INVALID_HEADER = ("InvalidHeader", "a header's name or value that Envoy would refuse or read otherwise")
    REDUNDANT_HOST = ("RedundantHost", "a host in a Sidecar that another one of the same entry covers already")
    INVALID_HOST = ("InvalidHost", "a host that is no DNS name and no wildcard of one")
    INVALID_WEIGHTS = ("InvalidWeights", "weights whose sum is 0 or more than 4294967295")
    INVALID_PATH_TEMPLATE = ("InvalidPathTemplate", "a path template that would end Envoy's process")
    HALF_APPLIED_POLICY = (
        "HalfAppliedPolicy",
        "a policy that needs what is not done yet; the message says what of it is enforced",
    )
    NEVER_MATCHES = ("NeverMatches", "a condition that no request can meet")
    UNREACHABLE_ROUTE = ("UnreachableRoute", "a route behind one that takes every request")

    # Several objects
    UNKNOWN_HOST = ("UnknownHost", "a destination that no Service has; requests to it are answered with 503")
    UNKNOWN_SUBSET = ("UnknownSubset", "a subset that no DestinationRule for the host defines")
    UNKNOWN_PORT = (
        "UnknownPort",
        "a port that the destination's Service does not have, named or the gateway's",
    )
    NO_HTTP_PORT = ("NoHttpPort", "HTTP routes for a Service none of whose ports may speak HTTP")
    CONFLICTING_HOSTS = ("ConflictingHosts", "two VirtualServices route one host; the oldest is in force")
    FOREIGN_HOST = ("ForeignHost", "a VirtualService routes another namespace's host, for its own namespace only")
    EMPTY_SUBSET = ("EmptySubset", "a subset whose labels no pod of the service has")
    UNUSED_SELECTOR = ("UnusedSelector", "a selector that matches no pod")
    HTTP_RULE_ON_TCP = ("HttpRuleOnTcp", "an authorization rule on HTTP where the port speaks TCP")
    HTTP_HASH_ON_TCP = ("HttpHashOnTcp", "a consistent hash of a part of a request where the port speaks TCP")
    CONFLICTING_POLICIES = ("ConflictingPolicies", "two PeerAuthentications for the same workloads")
    CONFLICTING_SIDECARS = ("ConflictingSidecars", "two Sidecars for the same workloads; the oldest is in force")
    UNUSED_HOST = ("UnusedHost", "a host in a Sidecar that brings nothing into scope, as nothing has it")
    UNKNOWN_IDENTITY = ("UnknownIdentity", "a policy names a service account or namespace that is not there")
    UNKNOWN_SERVICE_ACCOUNT = ("UnknownServiceAccount", "a workload runs as a ServiceAccount that is not there")
    UNKNOWN_DATA = ("UnknownData", "a container needs a ConfigMap, a Secret or a key of one that is not there")
    ADDRESS_TAKEN = ("AddressTaken", "a Service's clusterIP or nodePort is another Service's already")
    UNKNOWN_DESTINATION = (
        "UnknownDestination",
        "a DestinationRule for connections that cannot be told from others, as the Service has no address",
    )
    UNDETECTED_PROTOCOL = ("UndetectedProtocol", "a Service port whose protocol has to be detected")
    DUPLICATE_OBJECT = ("DuplicateObject", "the same object stands in two places; the first is in force")
    DUPLICATE_SUBSET = ("DuplicateSubset", "several DestinationRules for one host define the same subset")

    # Gateways
    UNKNOWN_GATEWAY = ("UnknownGateway", "a VirtualService names a Gateway that is not there")
    HOST_NOT_ADMITTED = ("HostNotAdmitted", "a VirtualService's host that no server of its Gateways has")
    UNKNOWN_CREDENTIAL = ("UnknownCredential", "a server's Secret is not there; TLS for its hosts is refused")
    INVALID_CREDENTIAL = ("InvalidCredential", "a server's Secret cannot be used; TLS for its hosts is refused")
    EXPIRING_CREDENTIAL = ("ExpiringCredential", "a server's certificate that has ended, or does within 14 days")
    CONFLICTING_SERVERS = ("ConflictingServers", "two servers claim one host of a port; the older one's word counts")
    CONFLICTING_PROTOCOLS = ("ConflictingProtocols", "two servers claim one port for different protocols")

    # A sidecar
    REJECTED_BY_SIDECAR = (
        "RejectedBySidecar",
        "sidecars refuse what is made of the object, and keep what they had of it; the message has Envoy's words",
    )

    # A source
    RESTART_NEEDED = ("RestartNeeded", "a setting that only a restart can change; the earlier one stays in force")
    SOURCE_VANISHED = ("SourceVanished", "the directory is gone or empty; the last good objects stay in force")
    SOURCE_UNREACHABLE = (
        "SourceUnreachable",
        "the Kubernetes API server is away or refuses; what was read before stays in force",
    )
    UNREADABLE_FILE = (
        "UnreadableFile",
        "a file or folder cannot be read, or is being written; its last good objects stay in force",
    )
