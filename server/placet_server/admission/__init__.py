"""Which calls are taken when there are more than can be answered in time. Knows no transport."""
