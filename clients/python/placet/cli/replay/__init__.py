"""Recorded decisions, asked again: what a candidate would change, what log-only policies would.

``recordings.py`` reads decision logs, ``masks.py`` tells what masks keep from being asked again,
``versions.py`` compiles the two sets that answer, ``answers.py`` compares what they say and finds
the policies behind a difference, ``replaying.py`` puts records to them and ``impact.py`` keeps
count. ``log_only.py`` counts what log-only policies would have done.
"""
