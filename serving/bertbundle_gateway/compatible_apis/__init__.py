"""REST APIs that existing client packages speak, one module for each API."""
