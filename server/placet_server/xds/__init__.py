"""Routes for clients that speak xDS: who asks, what for, and what their balancers are told."""
