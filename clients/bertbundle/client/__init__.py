"""The sync and async clients."""
