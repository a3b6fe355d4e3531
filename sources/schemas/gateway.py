"""Gateway (Istio's)."""

from __future__ import annotations

from model.gateways import TlsVersion
from sources.hosts import MAX_LABEL
from sources.istio_gateway import KIND, MODES
from sources.schemas.definition import Column, Definition
from sources.schemas.parts import Schema, boolean, by_key, choice, items, record, text, unbuilt
from sources.schemas.shared import port


def _spec() -> Schema:
    server = record(
        {
            "port": record(
                {"number": port(), "protocol": text(least=1), "name": text(least=1), "targetPort": unbuilt(port())},
                required=["number", "protocol", "name"],
            ),
            "bind": text(),
            "hosts": items(text(least=1), least=1),
            "tls": server_tls(),
            "defaultEndpoint": unbuilt(text()),
            "name": text(),
        },
        required=["port", "hosts"],
    )
    selector = by_key(text(most=MAX_LABEL))
    return record({"selector": selector, "servers": items(server, least=1)}, required=["servers"])


def server_tls() -> Schema:
    """`tls` of a server, which the kind Sidecar has too."""
    certificate = record({"serverCertificate": text(), "privateKey": text(), "caCertificates": text()})
    return record(
        {
            "httpsRedirect": boolean(),
            "mode": choice(MODES),
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
            "minProtocolVersion": choice(tuple(TlsVersion)),
            "maxProtocolVersion": choice(tuple(TlsVersion)),
            "cipherSuites": items(text()),
            "insecureSkipVerify": boolean(),
        }
    )


DEFINITION = Definition(
    group=KIND.group,
    versions=KIND.versions,
    kind=KIND.kind,
    plural="gateways",
    short="gw",
    description="What a gateway listens for: ports, protocols, hosts, certificates.",
    spec=_spec(),
    columns=(Column(name="Selector", path=".spec.selector", description="The gateway's pods.", wide=True),),
)
