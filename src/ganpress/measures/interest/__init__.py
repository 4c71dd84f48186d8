"""Where a picture matters: masks of interest, by which distances to the teacher are weighted."""
