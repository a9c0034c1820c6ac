"""How much a relayed message costs: ``python -m benchmarks.run --help``, and docs/performance.md."""
