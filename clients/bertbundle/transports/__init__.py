"""Connections to a server: gRPC, REST, or a bundle opened in this process."""
