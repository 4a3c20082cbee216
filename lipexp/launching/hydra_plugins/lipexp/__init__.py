"""What Hydra finds by its plugin mechanism: a sweeper, and a launcher of one worker per slot."""
