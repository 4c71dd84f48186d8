"""Content-Aware GAN Compression (Liu et al., CVPR 2021): cut by what the content needs, distil."""
