"""The sample platform's data, deterministic: the same scale gives the same data in every system."""
