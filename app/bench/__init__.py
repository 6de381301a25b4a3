"""The benchmark: a load generator, and session.run alone to compare the service with."""
