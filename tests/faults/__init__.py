"""Random faults, and a checker of what clients saw of them: ``python -m tests.faults --help``."""
