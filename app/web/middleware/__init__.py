"""Middleware, which every request passes through."""
