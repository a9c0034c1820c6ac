"""The domain: rooms and memberships, in plain, synchronous, transactional Django."""
