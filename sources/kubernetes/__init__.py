"""A Kubernetes API server as a source.

`resources` says what is watched, `api` speaks HTTP, `events` and `collection` are the protocol without I/O, `reflector`
is the pump between them, `objects` and `observed_pods` make values of what comes, and `source` puts it together.
"""

from sources.kubernetes.client_package import skip_unused_client

# Before a module of this package imports the client.
skip_unused_client()
