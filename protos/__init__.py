"""The wire: a fast encoder for Envoy's messages and the discovery envelope."""
