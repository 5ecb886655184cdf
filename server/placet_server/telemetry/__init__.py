"""What a node tells about itself: metrics, traces and the decision log. Knows no wire types."""
