"""Benchmarks. ``python -m benchmarks.run --help`` measures what a relayed message costs, and
``python -m benchmarks.reliability --help`` what a fault costs. Results: docs/performance.md and
docs/reliability.md."""
