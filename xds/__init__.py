"""Discovery: the ADS server. A protocol core without I/O, the memo of derived resources, one file that touches grpc."""

import protos  # noqa: F401 - before Envoy's messages are loaded: see protos/plain_messages.py
