"""Ways to provoke each error code and each close code on a real server."""
