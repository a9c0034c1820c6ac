"""Attacks on real servers; see ``conftest.py`` for the harness."""
