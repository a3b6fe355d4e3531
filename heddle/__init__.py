"""Command line, composition, and the laptop runtime."""
