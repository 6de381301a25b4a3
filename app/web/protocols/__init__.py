"""Protocols of other servers, so that their clients can be used as they are."""
