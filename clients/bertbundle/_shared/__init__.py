"""Helpers that the client, the server and the export share and that are not part of the contract."""
