"""GAN Compression (Li et al., CVPR 2020): one generator trained once, searched for any budget."""
