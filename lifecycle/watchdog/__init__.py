"""The process beside the load balancer: the only one that moves traffic and ownership, also when all else is dead."""
