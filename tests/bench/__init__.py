"""Benchmarks: ``python -m tests.bench NAME``. What they print are ratios within one run, and the machine it was."""
