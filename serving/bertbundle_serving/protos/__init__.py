"""Message definitions of the server, and the code generated from them."""
