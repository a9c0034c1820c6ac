"""Who may be in which room: plain, synchronous, transactional Django."""
