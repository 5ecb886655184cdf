"""Rollouts: bringing a candidate to nodes and subjects, watching it, taking it back."""
