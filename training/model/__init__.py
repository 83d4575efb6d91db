"""The network and what stands around it: adapters, latents, tokens, weights in and out."""
