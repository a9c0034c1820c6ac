"""A site that anyone can run, and copy from."""
