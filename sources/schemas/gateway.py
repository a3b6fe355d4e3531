"""Gateway (Istio's)."""

from __future__ import annotations

from sources.hosts import MAX_LABEL
from sources.schemas.definition import Column, Definition
from sources.schemas.parts import Schema, boolean, by_key, choice, items, record, text, unbuilt
from sources.schemas.shared import port

_MODES = ("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL")
_VERSIONS = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")


def _spec() -> Schema:
    server = record(
        {
            "port": record(
                {"number": port(), "protocol": text(least=1), "name": text(least=1), "targetPort": unbuilt(port())},
                required=["number", "protocol", "name"],
            ),
            "bind": text(),
            "hosts": items(text(least=1), least=1),
            "tls": _tls(),
            "defaultEndpoint": unbuilt(text()),
            "name": text(),
        },
        required=["port", "hosts"],
    )
    selector = by_key(text(most=MAX_LABEL))
    return record({"selector": selector, "servers": items(server, least=1)}, required=["servers"])


def _tls() -> Schema:
    certificate = record({"serverCertificate": text(), "privateKey": text(), "caCertificates": text()})
    return record(
        {
            "httpsRedirect": boolean(),
            "mode": choice(_MODES),
            "serverCertificate": text(),
            "privateKey": text(),
            "caCertificates": text(),
            "caCrl": text(),
            "credentialName": text(),
            "credentialNames": items(text()),
            "caCertCredentialName": text(),
            "tlsCertificates": items(certificate),
            "subjectAltNames": items(text()),
            "verifyCertificateSpki": items(text()),
            "verifyCertificateHash": items(text()),
            "minProtocolVersion": choice(_VERSIONS),
            "maxProtocolVersion": choice(_VERSIONS),
            "cipherSuites": items(text()),
            "insecureSkipVerify": boolean(),
        }
    )


DEFINITION = Definition(
    group="networking.istio.io",
    versions=("v1", "v1beta1", "v1alpha3"),
    kind="Gateway",
    plural="gateways",
    short="gw",
    description="What a gateway listens for: ports, protocols, hosts, certificates.",
    spec=_spec(),
    columns=(Column(name="Selector", path=".spec.selector", description="The gateway's pods.", wide=True),),
)
