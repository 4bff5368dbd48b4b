"""Benchmarks of DevFlow: `make bench`. bench/README.md explains how to run them and how to read their results."""
