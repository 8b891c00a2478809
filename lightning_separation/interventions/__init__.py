"""Running a network with something taken out of it, exactly and fast."""
