"""Tests with real servers and stores: Daphne, uvicorn, Redis, PostgreSQL and Janus."""
