"""The pure core of Placet: what policies are and what they say about a request.

Everything here is a function of its arguments: no input or output, no clock,
no network, no wire types. The server and the client's local evaluation run
the same code, which is why they give the same answers.
"""
