"""Shared by gRPC, REST and the web page: admission control and metrics."""
