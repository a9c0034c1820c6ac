"""The cost of faults: ``python -m benchmarks.reliability --help``. Results: docs/reliability.md."""
