"""GAN Compression (Li et al., CVPR 2020, TPAMI 2021): one supernet, a search, many students."""
