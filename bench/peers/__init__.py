"""Other systems, asked the same questions about the same policies."""
