"""Identity: the certificate authority, what it signs, tokens of callers, and the secrets of SDS."""

import protos  # noqa: F401 - before Envoy's messages are loaded: see protos/plain_messages.py
