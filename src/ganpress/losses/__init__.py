"""Loss terms, feature networks and the distance between two pictures."""
