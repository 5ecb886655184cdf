"""The edge: the only room that knows gRPC and the wire types.

Handlers do four things: read the message, call, write the answer, let errors
rise. ``failures`` has the table that turns what rises into status codes.
"""
