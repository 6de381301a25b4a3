"""Connections: their limits, and the errors of clients that do not get as far as a request."""
