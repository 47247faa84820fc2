"""What goes into a call of a client and comes out of it: contexts, codecs, results, and what it knows of the cluster."""
