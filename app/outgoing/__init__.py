"""Requests to other hosts: which proxy they take, whom they trust, and why one failed."""
