"""Move version labels on running servers and in their configuration file."""
