"""Training as a task, its tables by epoch, and what is told of it."""
