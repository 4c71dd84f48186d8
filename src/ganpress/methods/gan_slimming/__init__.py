"""GAN Slimming (Wang et al., ECCV 2020): everything that is only of this paper."""
