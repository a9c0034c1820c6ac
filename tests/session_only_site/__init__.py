"""A site that has the wheel, what it requires, and nothing else; see ``tests/test_wheel.py``."""
