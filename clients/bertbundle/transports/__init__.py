"""Transports: gRPC, REST, or a bundle in this process."""
