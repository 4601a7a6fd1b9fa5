"""Helpers shared by the client, the server and the export that are not part of the contract."""
