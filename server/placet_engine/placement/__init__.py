"""Where tenants' data may be and where their callers go: regions, rules, distances, routes."""
