"""Where policies are kept. ``contract`` is the seam; the rest are implementations."""
