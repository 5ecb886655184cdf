"""A faster way in for Evaluate and EvaluateBatch: Envoy, with this interpreter inside.

Envoy speaks HTTP/2 in C++ and hands the two hot methods to an ASGI application; everything else
it passes on to the node's own gRPC server. What is answered does not depend on the way in.
"""
