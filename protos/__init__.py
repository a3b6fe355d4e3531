"""The wire: a fast encoder for Envoy's messages and the discovery envelope."""

from protos.plain_messages import use_plain_messages

# Whoever builds messages imports this package first: each of those packages does so in its own `__init__`.
use_plain_messages()
