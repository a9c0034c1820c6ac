"""What goes over the wire: sockets, events, relays and the call page."""
