"""Where nodes are and where tenants are placed: what routes and refusals are made of."""
