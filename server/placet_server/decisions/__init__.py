"""Decisions: from a request to an answer, out of memory."""
