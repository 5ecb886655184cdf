"""What a node without a store follows instead: other nodes, by Subscribe, and a file of its own."""
