"""The mesh in our own frozen values. Knows neither Kubernetes nor Envoy nor gRPC."""
