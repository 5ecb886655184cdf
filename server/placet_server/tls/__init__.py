"""TLS out of files that are replaced while the server runs."""
