"""A mesh on one machine: pods as local processes, each in a network namespace of its own."""
