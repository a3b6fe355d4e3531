"""Pure functions from the model to Envoy's messages: same input, same bytes."""

import protos  # noqa: F401 - before Envoy's messages are loaded: see protos/plain_messages.py
