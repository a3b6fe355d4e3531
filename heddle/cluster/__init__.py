"""Heddle on Kubernetes: what a control plane writes to its cluster, and how replicas agree on who writes."""
