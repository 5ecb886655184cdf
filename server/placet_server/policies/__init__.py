"""Policies from publish to the node's memory, and on to its subscribers."""
