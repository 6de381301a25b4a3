"""The benchmark: a load generator that tells the truth, and the limit it is compared with."""
