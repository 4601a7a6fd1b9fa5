"""Two models on the same texts: agreement, difference of the metrics, latency."""
