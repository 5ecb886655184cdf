"""Who calls, how that was proved, and what they may do. Knows no transport."""
