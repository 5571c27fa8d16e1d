"""What can be built: a search space, its axes and limits, and exact counts over it."""
