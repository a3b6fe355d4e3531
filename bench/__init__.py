"""Benchmarks: what the figures in the documents come from, printed with what they compare to."""
