"""Benchmarks: ``python -m tests.bench NAME``. They print ratios within one run, and the machine's processor."""
