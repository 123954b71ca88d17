"""Benchmarks: `make bench` runs them all, `make bench ONLY=features` one room's.

Each prints a row beside its peer, measured in the same run on the same input; `data/bench/results.json` keeps them.
"""
