"""The search of GAN Compression: sub-networks of a trained supernet are scored within a budget.

`space` and `spaces`: which width sets there are. `evolution`: which one is scored next, as a
function of those that were. `study`: the loop, through an Optuna study that many workers share.
"""
