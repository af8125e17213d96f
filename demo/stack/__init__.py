"""The local stack: real servers on loopback, under one folder, watched by one supervisor."""
