"""Read weight files without the libraries that wrote them."""
