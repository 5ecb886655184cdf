"""Where nodes are and how they fare, where tenants are placed, and who goes where."""
