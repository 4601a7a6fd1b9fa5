"""What all REST APIs share: routes with strict JSON and each API's errors, and the HTTP listener."""
