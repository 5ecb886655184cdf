"""What differs between nodes with a store and those that follow others: who does which work."""
