"""Moving a live tenant between regions: plan, copy, verify, cut over, and the way back."""
