"""From settings to a running service: one process, or several."""
