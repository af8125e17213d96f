"""Speed of an erasure beside the best raw tools, on the same servers in the same run."""
