"""A node as one or several processes: who starts them, what they tell each other, how they end."""
