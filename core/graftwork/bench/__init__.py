"""Benchmarks: suites of runs, and what their scores say about the methods. `statistics` holds the numbers alone."""
