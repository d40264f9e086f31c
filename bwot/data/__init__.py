"""Data sets: a file a set, from the publisher's layout to arrays; how they are fetched, checked and sampled."""
