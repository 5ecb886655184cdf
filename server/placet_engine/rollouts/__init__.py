"""Rollouts: how a candidate takes the place of the stable revision. Pure: no clock, no I/O."""
