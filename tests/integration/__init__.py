"""Real servers, real sockets: Daphne and uvicorn, Redis and PostgreSQL, each of a test run's own."""
