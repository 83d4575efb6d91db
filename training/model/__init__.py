"""The network and what stands around it: adapters, latents, tokens, weights in and out."""

import logging

# diffusers loads bitsandbytes, which warns of kernels that nothing here asks for.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
