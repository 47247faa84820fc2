"""What was seen, in a file: recording.py writes and reads it, retold.py makes it from a cluster's events."""
