"""The probe as a task, and what is told of it."""
