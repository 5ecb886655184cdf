"""The Placet server: takes policies in, keeps them, and answers with decisions."""

from __future__ import annotations
