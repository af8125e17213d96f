"""Redis and Valkey: keys by template, members inside shared containers, entries of streams."""
