"""What can be done to the channels of any network with axes: slice, rank, cut."""
