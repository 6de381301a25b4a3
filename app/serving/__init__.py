"""Models that answer: loading, warm-up, batching, metrics."""
